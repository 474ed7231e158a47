"""Members come and go: added to a cluster that runs, evicted, and back; with real processes and the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.cluster import NODES, Cluster
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.xdist_group("e2e-members")

EVICTED = "us-2"
ADDED = "eu-3"


def members(cluster: Cluster, at: str = "eu-1") -> dict[str, dict[str, Any]]:
    listed = json.loads(cluster.vexil("member", "list", "--json", "--node", cluster.url(at)).stdout)
    return {item["node"]: item for item in listed["items"]}


def test_an_evicted_node_is_told_and_comes_back_as_a_new_member(cluster: Cluster) -> None:
    cluster.create(EVICTED, "before", description="before")
    cluster.settle()
    old = members(cluster)[EVICTED]["registration"]
    pid = cluster.pid(EVICTED)
    assert cluster.vexil("member", "evict", EVICTED).returncode == 0
    eventually(lambda: cluster.status(EVICTED)["standing"] == "evicted")
    url = cluster.url(EVICTED)
    refused = cluster.vexil("flag", "set", "before", "description=late", "--node", url)
    assert refused.returncode == 1
    assert "vexil member return" in refused.stderr
    assert cluster.vexil("flag", "get", "before", "--node", url).returncode == 0
    assert f"{EVICTED} was evicted" in cluster.vexil("status").stdout
    assert cluster.vexil("member", "return", "--node", url).returncode == 0
    eventually(lambda: cluster.status(EVICTED)["standing"] == "member" and cluster.status(EVICTED)["ready"])
    assert cluster.status(EVICTED)["registration"] != old
    assert cluster.runs(EVICTED) == pid  # the same process, another state
    eventually(lambda: members(cluster)[EVICTED]["state"] == "alive")
    cluster.create(EVICTED, "after", description="after")
    cluster.settle()
    again = cluster.vexil("member", "return", "--node", url)
    assert again.returncode == 1
    assert "member.registered" in again.stderr


def test_a_node_is_added_while_the_cluster_runs_and_is_there_at_the_next_start(cluster: Cluster) -> None:
    added = cluster.vexil("member", "add", ADDED, "--region", "eu")
    assert added.returncode == 0, added.stderr
    assert cluster.status(ADDED)["standing"] == "member"
    eventually(lambda: members(cluster)[ADDED]["state"] == "alive")
    assert cluster.pid(ADDED) == cluster.runs(ADDED)
    assert cluster.vexil("member", "add", ADDED, "--region", "eu").returncode == 1
    assert cluster.down() == 0
    assert cluster.runs(ADDED) is None
    cluster.up()
    assert {node["name"] for node in cluster.file["nodes"]} == {*NODES, ADDED}
    eventually(lambda: cluster.status(ADDED)["standing"] == "member")
