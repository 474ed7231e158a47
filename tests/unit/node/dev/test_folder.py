"""The data folder: what is written into it, and what is refused so that nothing is lost."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest

from vexil.node.config import NodeConfig, cluster_secret
from vexil.node.dev.cluster_file import record_pid, recorded_pid, write_cluster
from vexil.node.dev.credentials import Credentials
from vexil.node.dev.errors import FolderUnsuitable
from vexil.node.dev.folder import config_path, existing_nodes, prepare, render
from vexil.node.dev.layout import plan
from vexil.node.dev.private_file import write_private
from vexil.node.dev.process import child_environment, ending

TWO = plan(["eu", "us"], nodes=1, base_port=8100)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def config(data: Path, name: str) -> NodeConfig:
    return NodeConfig.load(config_path(data, name), {})


def test_each_node_gets_a_configuration_that_a_node_understands(tmp_path: Path) -> None:
    data = tmp_path / "data"
    prepare(data, TWO)
    first, second = config(data, "eu-1"), config(data, "us-1")
    assert (first.region, first.http_port, first.peer_port, first.dev) == ("eu", 8100, 8101, True)
    assert first.data == data / "eu-1"
    assert (first.bootstrap, second.bootstrap) == (True, False)
    assert first.seeds == ("http://127.0.0.1:8103",)
    assert second.seeds == ("http://127.0.0.1:8101",)
    assert cluster_secret(first, {}) == cluster_secret(second, {})


def test_secrets_are_for_the_owner_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    prepare(data, TWO)
    Credentials.open(data)
    write_cluster(data, TWO, pids={}, keys={}, project="demo", environment="prod")
    assert {mode(data / name) for name in ("cluster.secret", "keys.json", "cluster.json")} == {0o600}
    assert {mode(data), mode(data / "eu-1")} == {0o700}


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    prepare(tmp_path, TWO)
    owner = Credentials.open(tmp_path).owner
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    prepare(tmp_path, TWO)
    assert Credentials.open(tmp_path).owner == owner
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_ports_are_written_and_the_owners_keys_stay(tmp_path: Path) -> None:
    prepare(tmp_path, TWO)
    path = config_path(tmp_path, "eu-1")
    path.write_text(
        "gossip_interval_region_ms = 50\n"
        + path.read_text()
        + '[[flagd_listener]]\nport = 9000\nproject = "demo"\nenvironment = "é"\n'
    )
    prepare(tmp_path, plan(["eu", "us"], nodes=1, base_port=9100))
    changed = config(tmp_path, "eu-1")
    assert changed.http_port == 9100
    assert changed.gossip_interval_region_ms == 50
    assert [(each.port, each.environment) for each in changed.flagd_listener] == [(9104, "prod"), (9000, "é")]


def test_each_node_has_a_flagd_listener_unless_its_owner_uses_the_port(tmp_path: Path) -> None:
    prepare(tmp_path, TWO)
    (listener,) = config(tmp_path, "us-1").flagd_listener
    assert (listener.host, listener.port) == ("127.0.0.1", 8105)
    assert (listener.project, listener.environment) == ("demo", "prod")
    path = config_path(tmp_path, "us-1")
    path.write_text(path.read_text().replace('"prod"', '"dev"'))
    prepare(tmp_path, TWO)
    assert [each.environment for each in config(tmp_path, "us-1").flagd_listener] == ["dev"]


def test_more_nodes_and_regions_are_added_beside_the_old(tmp_path: Path) -> None:
    prepare(tmp_path, TWO)
    prepare(tmp_path, plan(["ap", "eu", "us"], nodes=2, base_port=8100))
    assert sorted(existing_nodes(tmp_path)) == ["ap-1", "ap-2", "eu-1", "eu-2", "us-1", "us-2"]
    # The cluster was begun by eu-1; a second beginning would be a second cluster.
    assert [name for name, node in existing_nodes(tmp_path).items() if node.bootstrap] == ["eu-1"]


@pytest.mark.parametrize("regions", [["eu"], ["eu", "ap"]])
def test_options_that_leave_a_node_out_are_refused_before_anything_changes(
    tmp_path: Path, regions: list[str]
) -> None:
    prepare(tmp_path, TWO)
    with pytest.raises(FolderUnsuitable, match="leave out: us-1"):
        prepare(tmp_path, plan(regions, nodes=1, base_port=9000))
    assert config(tmp_path, "eu-1").http_port == 8100
    assert not (tmp_path / "ap-1").exists()


def test_a_lost_first_node_never_begins_a_second_cluster(tmp_path: Path) -> None:
    prepare(tmp_path, TWO)
    config_path(tmp_path, "eu-1").unlink()
    prepare(tmp_path, TWO)
    assert not any(node.bootstrap for node in existing_nodes(tmp_path).values())


def test_a_lost_secret_is_not_replaced(tmp_path: Path) -> None:
    prepare(tmp_path, TWO)
    (tmp_path / "cluster.secret").unlink()
    with pytest.raises(FolderUnsuitable, match="is missing"):
        prepare(tmp_path, TWO)


def test_a_configuration_that_no_node_would_take_is_named(tmp_path: Path) -> None:
    prepare(tmp_path, TWO)
    config_path(tmp_path, "us-1").write_text("nonsense = 1\n")
    with pytest.raises(FolderUnsuitable, match="unknown key nonsense"):
        prepare(tmp_path, TWO)


def test_a_folder_of_another_name_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path, TWO)
    (tmp_path / "us-1").rename(tmp_path / "copy")
    with pytest.raises(FolderUnsuitable, match="named us-1"):
        prepare(tmp_path, TWO)


def test_keys_are_kept_as_they_are_made(tmp_path: Path) -> None:
    credentials = Credentials.open(tmp_path)
    assert credentials.owner.startswith("vxa_owner_")
    credentials.keep("server", "vxs_1")
    assert Credentials.open(tmp_path).all() == {"admin": credentials.owner, "server": "vxs_1"}


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_key_file_that_cannot_be_read_is_never_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(FolderUnsuitable, match=r"keys\.json"):
        Credentials.open(tmp_path)
    assert (tmp_path / "keys.json").read_text() == text


def test_the_cluster_file_has_its_published_shape(tmp_path: Path) -> None:
    write_cluster(tmp_path, TWO, pids={"eu-1": 7}, keys={"admin": "a"}, project="demo", environment="prod")
    assert json.loads((tmp_path / "cluster.json").read_text()) == {
        "nodes": [
            {"name": "eu-1", "region": "eu", "url": "http://127.0.0.1:8100", "flagd_port": 8104, "pid": 7},
            {"name": "us-1", "region": "us", "url": "http://127.0.0.1:8102", "flagd_port": 8105, "pid": None},
        ],
        "keys": {"admin": "a"},
        "project": "demo",
        "environment": "prod",
    }
    record_pid(tmp_path, "us-1", 9)
    assert (recorded_pid(tmp_path, "eu-1"), recorded_pid(tmp_path, "us-1")) == (7, 9)
    assert recorded_pid(tmp_path, "ap-1") is None


def test_a_private_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_rendered_is_what_toml_reads() -> None:
    values = {
        "a": 'q"\\\n\x07é😀',
        "b": [1, "x"],
        "c": True,
        "d": [{"port": 1, "host": "h"}, {"port": 2}],
        "e": 5,
    }
    assert tomllib.loads(render(values)) == values


def test_a_node_inherits_the_environment_but_not_what_its_file_says() -> None:
    inherited = child_environment(
        {
            "PATH": "/bin",
            "VEXIL_NODE_NAME": "x",
            "VEXIL_NODE_HTTP_PORT": "1",
            "VEXIL_NODE_GOSSIP_INTERVAL_REMOTE_MS": "100",
            "VEXIL_CLUSTER_SECRET": "s",
            "VEXIL_BOOTSTRAP_KEY": "old",
        },
        owner_key="vxa_owner_1",
    )
    assert inherited == {
        "PATH": "/bin",
        "VEXIL_NODE_GOSSIP_INTERVAL_REMOTE_MS": "100",
        "VEXIL_BOOTSTRAP_KEY": "vxa_owner_1",
    }


def test_an_ending_is_said_in_words() -> None:
    assert ending(3) == "exit code 3"
    assert ending(-9) == "killed by SIGKILL"
