"""Which node, key and project a command uses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from tests.unit.node.cli.fake_node import FakeCluster, answer
from vexil.node.cli import root
from vexil.node.cli.errors import CommandFailed
from vexil.node.cli.settings import Settings, find_cluster

LIST = "/api/v1/projects/demo/flags"
EMPTY = answer({"items": [], "next_page_token": None})


def key_sent(cluster: FakeCluster, name: str = "eu-1") -> str | None:
    return cluster[name].requests[-1].headers.get("authorization")


def test_the_nearest_cluster_file_is_found_from_below(cluster: FakeCluster, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    found = find_cluster(deep)
    assert found is not None
    assert found.path == tmp_path / "cluster.json"
    near = tmp_path / "a" / ".vexil"
    near.mkdir()
    (near / "cluster.json").write_text((tmp_path / "cluster.json").read_text())
    found = find_cluster(deep)
    assert found is not None
    assert found.path == near / "cluster.json"


def test_the_cluster_file_gives_node_key_and_project(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", LIST, EMPTY)
    assert cluster.run("flag", "list").exit_code == 0
    assert key_sent(cluster) == "Bearer vxa_cluster"


def test_options_win_over_variables_and_these_over_the_file(pair: FakeCluster) -> None:
    pair["us-1"].on("GET", LIST, EMPTY).on("GET", "/api/v1/projects/shop/flags", EMPTY)
    pair.environment |= {
        "VEXIL_URL": f"{pair.urls['us-1']}/",
        "VEXIL_KEY": "vxa_env",
        "VEXIL_PROJECT": "shop",
    }
    assert pair.run("flag", "list").exit_code == 0
    assert pair["us-1"].calls == [("GET", "/api/v1/projects/shop/flags")]
    assert key_sent(pair, "us-1") == "Bearer vxa_env"
    assert (
        pair.run("--key", "vxa_outer", "flag", "list", "--project", "demo", "--key", "vxa_inner").exit_code
        == 0
    )
    assert pair["us-1"].calls[-1] == ("GET", LIST)
    assert key_sent(pair, "us-1") == "Bearer vxa_inner"
    pair["eu-1"].on("GET", "/api/v1/projects/shop/flags", EMPTY)
    assert pair.run("flag", "list", "--node", "eu-1").exit_code == 0
    assert len(pair["eu-1"].requests) == 1


@pytest.mark.parametrize("place", [0, 1, 2])
def test_shared_options_may_stand_anywhere(cluster: FakeCluster, place: int) -> None:
    cluster["eu-1"].on("GET", LIST, EMPTY)
    words = ["flag", "list"]
    words.insert(place, "--json")
    assert cluster.run(*words).stdout.strip() == '{\n  "items": []\n}'


def test_a_named_node_stands_alone(pair: FakeCluster) -> None:
    pair["eu-1"].on("GET", LIST, EMPTY)
    pair["us-1"].down = True
    assert pair.run("flag", "list", "--node", "us-1").exit_code == 1
    assert pair["eu-1"].requests == []


def test_the_files_key_is_not_sent_to_a_stranger(cluster: FakeCluster) -> None:
    cluster.urls["eu-1"] = "http://flags.example.com:9000"
    cluster["eu-1"].on("GET", LIST, EMPTY)
    assert cluster.run("flag", "list", "--node", "http://flags.example.com:9000").exit_code == 0
    assert key_sent(cluster) is None


@pytest.mark.parametrize("node", ["eu-9", "ftp://x", "http://", "http://x:notaport"])
def test_a_node_that_is_neither_url_nor_name_is_a_usage_error(cluster: FakeCluster, node: str) -> None:
    result = cluster.run("flag", "list", "--node", node)
    assert result.exit_code == 2
    assert "eu-1" in result.stderr


def test_nothing_that_names_a_node_is_a_usage_error_that_helps(tmp_path: Path) -> None:
    result = CliRunner().invoke(root, ["flag", "list"], obj=Settings(folder=tmp_path, environment={}))
    assert result.exit_code == 2
    assert "VEXIL_URL" in result.stderr or "VEXIL_PROJECT" in result.stderr
    with pytest.raises(click.UsageError, match="vexil dev"):
        Settings(folder=tmp_path, environment={}).target()


@pytest.mark.parametrize("text", ["{", "[]", '{"nodes": []}', '{"nodes": [{"name": "x"}]}'])
def test_a_broken_cluster_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(CommandFailed, match=r"cluster\.json"):
        find_cluster(tmp_path)


def test_an_unknown_command_is_a_usage_error(cluster: FakeCluster) -> None:
    assert cluster.run("flags").exit_code == 2


def test_node_becomes_the_nodes_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def become(program: str, arguments: list[str]) -> NoReturn:
        started.append(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", become)
    config = tmp_path / "node.toml"
    config.touch()
    assert CliRunner().invoke(root, ["node", "--config", str(config)]).exit_code == 0
    assert started[0][1:] == ["-m", "vexil.node", "--config", str(config)]
    assert CliRunner().invoke(root, ["node", "--config", str(tmp_path / "none.toml")]).exit_code == 2
