"""``vexil member``: what is asked of which node, and the configuration of a new one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.node.cli.fake_node import CHANGE, FakeCluster, answer, problem
from vexil.node.config import NodeConfig

MEMBERS = "/api/v1/members"
EU = {
    "node": "eu-1",
    "region": "eu",
    "registration": "00000000000000aa",
    "state": "self",
    "url": "http://eu-1:8100",
    "peer_url": "http://eu-1:8101",
    "last_heard_ms": 0,
    "announced_ms": 20,
    "blocks_garbage": False,
}
US = {**EU, "node": "us-1", "region": "us", "state": "alive", "peer_url": "http://us-1:8101"}
GONE = {**US, "node": "us-2", "state": "evicted", "peer_url": "http://us-2:8101", "announced_ms": None}


@pytest.fixture
def listed(cluster: FakeCluster) -> FakeCluster:
    cluster["eu-1"].on("GET", MEMBERS, answer({"items": [EU, US, GONE], "next_page_token": None}))
    return cluster


def test_the_list_shows_each_member_and_what_waits_for_it(listed: FakeCluster) -> None:
    items = [EU, {**US, "blocks_garbage": True}, GONE]
    listed["eu-1"].on("GET", MEMBERS, answer({"items": items, "next_page_token": None}))
    lines = listed.run("member", "list").stdout.splitlines()
    assert lines[0].split() == ["NODE", "REGION", "STATE", "URL", "HEARD", "ANNOUNCED", "GARBAGE"]
    assert "waits for it" in lines[2]
    assert lines[3].split()[:3] == ["us-2", "us", "evicted"]
    assert "never" in lines[3]
    assert json.loads(listed.run("member", "list", "--json").stdout) == {"items": items}


def test_an_eviction_is_asked_of_any_node(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", f"{MEMBERS}/us-1/evict", answer({"node": "us-1", "change": CHANGE}))
    result = cluster.run("member", "evict", "us-1")
    assert result.exit_code == 0
    assert f"us-1 is evicted (change {CHANGE['id']}" in result.stdout
    assert cluster["eu-1"].sent("POST").headers["idempotency-key"]


def test_an_eviction_of_one_that_is_evicted_says_so(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", f"{MEMBERS}/us-1/evict", answer({"node": "us-1", "change": None}))
    assert "nothing was written" in cluster.run("member", "evict", "us-1").stdout


@pytest.mark.parametrize("code", ["member.self", "member.last"])
def test_a_refused_eviction_fails_with_its_reason(cluster: FakeCluster, code: str) -> None:
    cluster["eu-1"].on("POST", f"{MEMBERS}/eu-1/evict", problem(409, code, detail="not this one"))
    result = cluster.run("member", "evict", "eu-1")
    assert result.exit_code == 1
    assert "not this one" in result.stderr


def test_a_return_is_asked_of_the_node_that_is_named_and_of_no_other(pair: FakeCluster) -> None:
    done = answer({"node": "us-1", "standing": "joining"}, status=202)
    pair["us-1"].on("POST", f"{MEMBERS}/return", done)
    refused = pair.run("member", "return")
    assert refused.exit_code == 2
    assert "--node" in refused.stderr
    result = pair.run("member", "return", "--node", pair.urls["us-1"])
    assert result.exit_code == 0
    assert "us-1 begins anew" in result.stdout
    assert pair["eu-1"].requests == []
    pair["us-1"].down = True
    assert pair.run("member", "return", "--node", pair.urls["us-1"]).exit_code == 1
    assert pair["eu-1"].requests == []


def test_a_new_node_gets_the_peers_of_all_members_as_its_seeds(listed: FakeCluster, tmp_path: Path) -> None:
    out = tmp_path / "new" / "node.toml"
    out.parent.mkdir()
    result = listed.run("member", "add", "eu-2", "--region", "eu", "--out", str(out))
    assert result.exit_code == 0, result.output
    config = NodeConfig.load(out, {})
    assert (config.name, config.region, config.bootstrap) == ("eu-2", "eu", False)
    assert config.seeds == ("http://eu-1:8101", "http://us-1:8101")  # none of an evicted one
    assert "cluster.secret" in result.stderr
    again = listed.run("member", "add", "eu-2", "--region", "eu", "--out", str(out))
    assert again.exit_code == 1
    assert NodeConfig.load(out, {}) == config


def test_without_a_file_the_configuration_is_the_output(listed: FakeCluster) -> None:
    url = listed.urls["eu-1"]
    result = listed.run("member", "add", "us-2", "--region", "us", "--node", url)
    assert 'name = "us-2"' in result.stdout  # an evicted name may come again
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("name", "region", "exit_code"), [("us-1", "us", 1), ("../x", "us", 2), ("eu-3", "a b", 2), ("", "eu", 2)]
)
def test_what_cannot_be_a_new_member_is_refused(
    listed: FakeCluster, tmp_path: Path, name: str, region: str, exit_code: int
) -> None:
    out = tmp_path / "node.toml"
    result = listed.run("member", "add", name, "--region", region, "--out", str(out))
    assert result.exit_code == exit_code, result.output
    assert not out.exists()


def test_without_a_running_cluster_nothing_is_added(cluster: FakeCluster) -> None:
    result = cluster.run("member", "add", "eu-2", "--region", "eu")
    assert result.exit_code == 1
    assert "no cluster runs" in result.stderr
    assert sorted(path.name for path in cluster.folder.iterdir()) == ["cluster.json"]


def test_an_addition_says_for_which_region(cluster: FakeCluster) -> None:
    assert cluster.run("member", "add", "eu-2").exit_code == 2
