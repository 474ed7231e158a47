"""``vexil backup``, ``vexil backup verify`` and ``vexil restore``: files that are whole, and what is said of others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.property.test_backup_file import file_of, manifest, whole
from tests.unit.node.cli.fake_node import FakeCluster, FakeNode, answer, problem
from vexil.crdt.replica import Replica
from vexil.node.cli import backup as commands

BACKUP = "/api/v1/projects/shop/backup"
RESTORE = "/api/v1/projects/shop/restore"
RESTORED = {"project": "shop", "objects": 7, "flags": 6, "changes": 6, "copy": False, "dry_run": False}


def sent(data: bytes) -> httpx.Response:
    return httpx.Response(200, content=data, headers={"content-type": "application/octet-stream"})


@pytest.fixture
def serving(cluster: FakeCluster) -> FakeNode:
    return cluster["eu-1"].on("GET", BACKUP, sent(whole()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    target = tmp_path / "shop.vexil-backup"
    target.write_bytes(whole())
    return target


def others_in(folder: Path) -> list[str]:
    """What is in the folder beside the cluster's own file."""
    return sorted(path.name for path in folder.iterdir() if path.name != "cluster.json")


def test_a_project_is_written_to_a_file_that_only_its_owner_reads(
    cluster: FakeCluster, serving: FakeNode, tmp_path: Path
) -> None:
    out = tmp_path / "here.bak"
    result = cluster.run("backup", "--project", "shop", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == whole()
    assert out.stat().st_mode & 0o777 == 0o600
    assert "shop is backed up" in result.stdout
    assert "6 of them flags, 6 changes of the log" in result.stdout
    assert serving.sent("GET").headers["authorization"] == "Bearer vxa_cluster"
    assert others_in(tmp_path) == ["here.bak"]


def test_into_a_folder_it_is_called_after_its_project(
    cluster: FakeCluster, serving: FakeNode, tmp_path: Path
) -> None:
    result = cluster.run("backup", "--project", "shop", "--out", str(tmp_path), "--json")
    target = tmp_path / "shop.vexil-backup"
    assert target.read_bytes() == whole()
    (item,) = json.loads(result.stdout)["items"]
    assert (item["file"], item["project"], item["flags"], item["bytes"]) == (
        str(target),
        "shop",
        6,
        len(whole()),
    )


def test_all_are_every_project_and_the_clusters_own(cluster: FakeCluster, tmp_path: Path) -> None:
    node = cluster["eu-1"]
    names = ["shop", "web"]
    items = [{"name": name} for name in names]
    node.on("GET", "/api/v1/projects", answer({"items": items, "next_page_token": None}))
    for name in (*names, "_system"):
        node.on("GET", f"/api/v1/projects/{name}/backup", sent(file_of(manifest(project=name))))
    out = tmp_path / "new" / "folder"
    result = cluster.run("backup", "--all", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert others_in(out) == ["_system.vexil-backup", "shop.vexil-backup", "web.vexil-backup"]
    assert result.stdout.count("is backed up") == 3


@pytest.mark.parametrize(
    "arguments", [[], ["--all"], ["--all", "--project", "shop", "--out", "x"], ["verify"], ["verify", "none"]]
)
def test_what_makes_no_sense_is_a_usage_error(cluster: FakeCluster, arguments: list[str]) -> None:
    assert cluster.run("backup", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (whole()[:-20], "cut off"),
        (b"", "empty"),
        (b'{"flags": {}}', "not a Vexil backup"),
        (whole()[:300] + b"\0" + whole()[301:], "damaged"),
        (file_of(manifest(project="web")), "'web', not 'shop'"),
    ],
)
def test_what_is_no_whole_backup_is_not_left_behind(
    cluster: FakeCluster, tmp_path: Path, data: bytes, why: str
) -> None:
    cluster["eu-1"].on("GET", BACKUP, sent(data))
    out = tmp_path / "shop.bak"
    out.write_bytes(b"the one before")
    result = cluster.run("backup", "--project", "shop", "--out", str(out))
    assert result.exit_code == 1
    assert why in result.stderr
    assert out.read_bytes() == b"the one before"
    assert others_in(tmp_path) == ["shop.bak"]


def test_a_connection_that_breaks_leaves_nothing_behind(cluster: FakeCluster, tmp_path: Path) -> None:
    def breaking() -> Iterator[bytes]:
        yield whole()[:100]
        raise httpx.ReadError("reset")

    cluster["eu-1"].on("GET", BACKUP, lambda _: httpx.Response(200, content=breaking()))
    result = cluster.run("backup", "--project", "shop", "--out", str(tmp_path / "shop.bak"))
    assert result.exit_code == 1
    assert "no whole answer" in result.stderr
    assert others_in(tmp_path) == []


def test_a_refusal_is_told(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster["eu-1"].on("GET", BACKUP, problem(403, "key.forbidden", detail="this needs the role owner"))
    result = cluster.run("backup", "--project", "shop", "--out", str(tmp_path / "shop.bak"))
    assert result.exit_code == 1
    assert "this needs the role owner" in result.stderr
    assert others_in(tmp_path) == []


def test_the_next_node_is_asked_if_one_is_down(pair: FakeCluster, tmp_path: Path) -> None:
    pair["eu-1"].down = True
    pair["us-1"].on("GET", BACKUP, sent(whole()))
    assert pair.run("backup", "--project", "shop", "--out", str(tmp_path / "a")).exit_code == 0
    pair["us-1"].down = True
    assert pair.run("backup", "--project", "shop", "--out", str(tmp_path / "b")).exit_code == 1


def test_a_folder_that_cannot_be_written_is_said(
    cluster: FakeCluster, serving: FakeNode, tmp_path: Path
) -> None:
    result = cluster.run("backup", "--project", "shop", "--out", str(tmp_path / "none" / "shop.bak"))
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_a_file_is_verified_without_a_node(cluster: FakeCluster, file: Path) -> None:
    result = cluster.run("backup", "verify", str(file))
    assert result.exit_code == 0, result.output
    assert "is whole" in result.stdout
    assert "project shop, as node eu-1 had it at 1970-01-01T00:00:00.005Z" in result.stdout
    told = json.loads(cluster.run("backup", "verify", "--json", str(file)).stdout)
    assert (told["environments"], told["changes"]) == (["prod"], 6)
    assert cluster["eu-1"].requests == []


def test_a_damaged_file_is_found(cluster: FakeCluster, file: Path) -> None:
    data = whole()
    for broken in (data[:-1], data[:400] + bytes([data[400] ^ 4]) + data[401:], data + b"x"):
        file.write_bytes(broken)
        result = cluster.run("backup", "verify", str(file))
        assert result.exit_code == 1
        assert "is no whole backup" in result.stderr


def test_a_file_is_restored_as_what_it_is_of(cluster: FakeCluster, file: Path) -> None:
    cluster["eu-1"].on("POST", RESTORE, answer(RESTORED, status=201))
    cluster.environment["VEXIL_PROJECT"] = "demo"
    result = cluster.run("restore", str(file))
    assert result.exit_code == 0, result.output
    assert result.stdout == "shop is restored: 7 objects, 6 of them flags, 6 changes of the log\n"
    request = cluster["eu-1"].sent("POST")
    assert request.content == whole()
    assert request.headers["content-length"] == str(len(whole()))
    assert dict(request.url.params) == {"dry_run": "false"}


def test_or_under_another_name_as_a_copy(cluster: FakeCluster, file: Path) -> None:
    done = {**RESTORED, "project": "copy", "copy": True}
    cluster["eu-1"].on("POST", "/api/v1/projects/copy/restore", answer(done, status=201))
    result = cluster.run("restore", str(file), "--project", "copy")
    assert "it is a copy" in result.stdout


def test_a_dry_run_says_what_would_be(cluster: FakeCluster, file: Path) -> None:
    cluster["eu-1"].on("POST", RESTORE, answer({**RESTORED, "dry_run": True}))
    result = cluster.run("restore", str(file), "--dry-run")
    assert "shop would be restored" in result.stdout
    assert dict(cluster["eu-1"].sent("POST").url.params) == {"dry_run": "true"}


def test_the_clusters_own_file_is_reported_by_what_it_brought(cluster: FakeCluster, tmp_path: Path) -> None:
    target = tmp_path / "s"
    empty = manifest(project="_system", header=Replica().header(), objects=0, keys=0)
    target.write_bytes(file_of(empty, []))
    told = {"project": "_system", "projects": ["shop", "web"], "keys": 3}
    cluster["eu-1"].on("POST", "/api/v1/projects/_system/restore", answer(told, status=201))
    result = cluster.run("restore", str(target))
    assert "shop, web; keys: 3" in result.stdout


def test_a_damaged_file_is_never_sent(cluster: FakeCluster, file: Path) -> None:
    file.write_bytes(whole()[:-1])
    assert cluster.run("restore", str(file)).exit_code == 1
    assert cluster["eu-1"].requests == []


def test_a_living_project_is_named_with_the_way_out(cluster: FakeCluster, file: Path) -> None:
    cluster["eu-1"].on("POST", RESTORE, problem(409, "project.exists"))
    result = cluster.run("restore", str(file))
    assert result.exit_code == 1
    assert "--project NAME for a copy" in result.stderr


def test_a_lost_answer_is_an_unknown_outcome_that_the_same_file_settles(
    cluster: FakeCluster, file: Path
) -> None:
    cluster["eu-1"].on("POST", RESTORE, problem(503, "durability.unavailable", definite=False))
    result = cluster.run("restore", str(file))
    assert result.exit_code == 3
    assert "restore the same file again" in result.stderr
    assert [request.content for request in cluster["eu-1"].requests] == [whole()] * 2


def test_progress_is_shown_to_whoever_watches(
    cluster: FakeCluster, serving: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "is_terminal", lambda: True)
    cluster["eu-1"].on("POST", RESTORE, answer(RESTORED, status=201))
    out = tmp_path / "shop.bak"
    made = cluster.run("backup", "--project", "shop", "--out", str(out))
    assert (made.exit_code, "shop" in made.stderr) == (0, True), made.output
    done = cluster.run("restore", str(out))
    assert done.exit_code == 0, done.output
    assert "the node is working on it" in done.stderr
    assert cluster["eu-1"].sent("POST").content == whole()


@pytest.mark.parametrize("name", ["../shop", "/shop", "a/b", "..", "", "_system"])
def test_a_name_that_is_none_of_a_project_becomes_no_file(
    cluster: FakeCluster, tmp_path: Path, name: str
) -> None:
    items = [{"name": name}]
    cluster["eu-1"].on("GET", "/api/v1/projects", answer({"items": items, "next_page_token": None}))
    out = tmp_path / "folder"
    result = cluster.run("backup", "--all", "--out", str(out))
    assert result.exit_code == 1
    assert "no name" in result.output
    assert others_in(tmp_path) == ["folder"]
    assert others_in(out) == []
