"""`vexil status` asks every node and compares what they say."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.node.cli.fake_node import FakeCluster, answer, problem

STATUS = "/api/v1/status"


def status_of(name: str, *, vv: str = "v1", root: str = "r1", **changed: Any) -> dict[str, Any]:
    return {
        "node": name,
        "region": name[:2],
        "incarnation": "00000000000000aa",
        "version": "0.1.0",
        "ready": True,
        "store": {"kind": "sqlite", "state": "available", "backlog": 0},
        "clock": {"offset_ms": 3, "suspect": False},
        "projects": {"demo": {"vv_hash": vv, "root_hash": root, "flags": 2, "changes": 9, "conflicts": 1}},
        "members": [],
        "lag_ms": {"us": {"p50": 10, "p99": 40, "max": 90}},
        **changed,
    }


def test_equal_nodes_are_said_to_be_the_same(pair: FakeCluster) -> None:
    for name in ("eu-1", "us-1"):
        pair[name].on("GET", STATUS, answer(status_of(name)))
    result = pair.run("status")
    assert result.exit_code == 0
    assert "2 of 2 nodes reached" in result.stdout
    assert "same everywhere" in result.stdout
    assert "us 40 ms" in result.stdout
    assert "!" not in result.stdout
    assert pair.run("status", "--check").exit_code == 0


def test_a_dead_node_is_shown_as_unreachable_and_fails_a_check(pair: FakeCluster) -> None:
    pair["eu-1"].down = True
    pair["us-1"].on("GET", STATUS, answer(status_of("us-1")))
    result = pair.run("status")
    assert result.exit_code == 0
    assert "1 of 2 nodes reached" in result.stdout
    assert "eu-1 cannot be reached: Connection refused" in result.stdout
    assert pair.run("status", "--check").exit_code == 1


def test_no_node_at_all_is_a_failure(pair: FakeCluster) -> None:
    pair["eu-1"].down = pair["us-1"].down = True
    result = pair.run("status")
    assert result.exit_code == 1
    assert "vexil dev" in result.stderr


def test_nodes_that_hold_different_versions_are_told_apart(pair: FakeCluster) -> None:
    pair["eu-1"].on("GET", STATUS, answer(status_of("eu-1", vv="v1", root="r1")))
    pair["us-1"].on("GET", STATUS, answer(status_of("us-1", vv="v2", root="r2")))
    result = pair.run("status")
    assert "nodes hold different versions of demo" in result.stdout
    assert "ALARM" not in result.stdout
    project = json.loads(pair.run("status", "--json").stdout)["projects"]["demo"]
    assert (project["converged"], project["forked"]) == (False, False)
    assert [state["nodes"] for state in project["states"]] == [["eu-1"], ["us-1"]]


def test_the_same_changes_with_other_states_are_an_alarm(pair: FakeCluster) -> None:
    pair["eu-1"].on("GET", STATUS, answer(status_of("eu-1", vv="v1", root="r1")))
    pair["us-1"].on("GET", STATUS, answer(status_of("us-1", vv="v1", root="r2")))
    assert "! ALARM: in demo" in pair.run("status").stdout
    assert pair.run("status", "--check").exit_code == 1


def test_a_node_that_is_behind_not_ready_or_suspect_is_said_to_be(cluster: FakeCluster) -> None:
    members = [
        {"node": "us-1", "region": "us", "state": "alive", "behind_changes": 12, "behind_ms": 3400},
        {"node": "ap-1", "region": "ap", "state": "suspected", "behind_changes": 0, "behind_ms": 0},
    ]
    reply = status_of(
        "eu-1", ready=False, members=members, clock={"offset_ms": 90_000, "suspect": True},
        store={"kind": "cassandra", "state": "unavailable", "backlog": 4},
    )  # fmt: skip
    cluster["eu-1"].on("GET", STATUS, answer(reply))
    shown = cluster.run("status").stdout
    for part in (
        "NOT READY", "us-1: 12 changes, 3400 ms; ap-1: suspected", "SUSPECT", "cassandra unavailable backlog 4",
        "eu-1 is not ready", "its store is unavailable",
    ):  # fmt: skip
        assert part in shown


def test_stale_knowledge_and_alarms_are_never_shown_as_well(cluster: FakeCluster) -> None:
    reply = status_of(
        "eu-1", as_of_age_ms={"us": 20_000, "ap": None, "eu": 0}, stale_regions=["us"],
        alarms={"forks": 1, "divergences": 0},
    )  # fmt: skip
    cluster["eu-1"].on("GET", STATUS, answer(reply))
    shown = cluster.run("status").stdout
    for part in ("ap never heard, eu 0 ms, us 20000 ms STALE", "not heard lately from us", "counted 1 forks"):
        assert part in shown
    assert cluster.run("status", "--check").exit_code == 1


def test_damage_in_a_log_is_an_alarm(cluster: FakeCluster) -> None:
    store = {"kind": "sqlite", "state": "available", "backlog": 0, "damaged_records": 3}
    cluster["eu-1"].on("GET", STATUS, answer(status_of("eu-1", store=store)))
    assert "! ALARM: eu-1 has found 3 damaged records in its log" in cluster.run("status").stdout
    assert cluster.run("status", "--check").exit_code == 1


def test_members_that_only_another_node_knows_are_asked_too(pair: FakeCluster) -> None:
    member = {"node": "us-1", "region": "us", "state": "alive", "url": pair.urls["us-1"]}
    pair["eu-1"].on("GET", STATUS, answer(status_of("eu-1", members=[member])))
    pair["us-1"].on("GET", STATUS, answer(status_of("us-1")))
    result = pair.run("status", "--node", "eu-1", "--json")
    assert [node["node"] for node in json.loads(result.stdout)["nodes"]] == ["eu-1", "us-1"]


def test_a_key_that_may_not_ask_is_an_error_and_not_a_dead_node(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", STATUS, problem(403, "key.forbidden"))
    result = cluster.run("status")
    assert result.exit_code == 1
    assert "key.forbidden" in result.stderr
