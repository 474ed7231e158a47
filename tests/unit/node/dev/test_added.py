"""Nodes that are added to a local cluster while it runs, and are there again at every later start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vexil.node.adapters.folder_lock import FolderLock
from vexil.node.config import NodeConfig
from vexil.node.dev.added import ADDED_FILE, add_node, read_added, with_added
from vexil.node.dev.cluster_file import CLUSTER_FILE, write_cluster
from vexil.node.dev.errors import AlreadyRunning, DevError, FolderUnsuitable, PortTaken
from vexil.node.dev.folder import config_path, existing_nodes, prepare
from vexil.node.dev.layout import NodePlan, plan

PLANS = plan(["eu", "us"], nodes=1, base_port=23_400)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    prepare(tmp_path, PLANS)
    write_cluster(tmp_path, PLANS, pids={"eu-1": 1}, keys={}, project="demo", environment="prod")
    return tmp_path


def test_an_added_node_has_a_folder_ports_of_its_own_and_all_others_as_seeds(data: Path) -> None:
    with FolderLock.acquire(data):
        node = add_node(data, "eu-2", "eu")
    config = NodeConfig.load(config_path(data, "eu-2"), {})
    assert (config.name, config.region, config.bootstrap) == ("eu-2", "eu", False)
    assert sorted(config.seeds) == sorted(other.peer_url for other in PLANS)
    assert (config.http_port, config.peer_port) == (node.http_port, node.peer_port)
    assert not set(node.ports) & {port for other in PLANS for port in other.ports}
    named = json.loads((data / CLUSTER_FILE).read_text())["nodes"]
    assert [(n["name"], n["pid"]) for n in named] == [("eu-1", 1), ("us-1", None), ("eu-2", None)]


def test_later_starts_have_the_added_node_without_being_told(data: Path) -> None:
    with FolderLock.acquire(data):
        node = add_node(data, "eu-2", "eu")
        second = add_node(data, "ap-1", "ap")
    plans = with_added(data, PLANS)
    assert plans == (*PLANS, node, second)
    assert not set(node.ports) & set(second.ports)
    prepare(data, plans)
    assert set(existing_nodes(data)) == {"eu-1", "us-1", "eu-2", "ap-1"}
    # Options that name it as well win: it is one node.
    both = plan(["eu", "us"], nodes=2, base_port=23_500)
    assert [n.name for n in with_added(data, both)].count("eu-2") == 1


def test_an_addition_that_was_cut_short_is_made_at_the_next_start(data: Path) -> None:
    with FolderLock.acquire(data):
        add_node(data, "eu-2", "eu")
    config_path(data, "eu-2").unlink()
    prepare(data, with_added(data, PLANS))
    assert "eu-2" in existing_nodes(data)


def test_a_port_that_would_be_given_twice_is_named(data: Path) -> None:
    with FolderLock.acquire(data):
        node = add_node(data, "eu-2", "eu")
    with pytest.raises(PortTaken, match="eu-2"):
        with_added(data, (NodePlan("x-1", "x", node.peer_port, 1, 2),))


@pytest.mark.parametrize(
    ("name", "region", "error"),
    [
        ("eu-1", "eu", AlreadyRunning),
        ("../x", "eu", DevError),
        ("eu-2", "", DevError),
        ("x" * 61, "eu", DevError),
    ],
)
def test_what_cannot_be_added_changes_nothing(
    data: Path, name: str, region: str, error: type[DevError]
) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    with FolderLock.acquire(data), pytest.raises(error):
        add_node(data, name, region)
    after = {path: path.read_bytes() for path in data.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


def test_without_a_running_cluster_nothing_is_added(data: Path) -> None:
    with pytest.raises(DevError, match="no cluster runs"):
        add_node(data, "eu-2", "eu")
    assert read_added(data) == ()


@pytest.mark.parametrize("text", ["", "[", '{"a": 1}', '[{"name": "x"}]', "[1]", "\x00"])
def test_a_damaged_list_is_named(data: Path, text: str) -> None:
    (data / ADDED_FILE).write_text(text)
    with pytest.raises(FolderUnsuitable, match=ADDED_FILE):
        read_added(data)
