"""A write at any node is in the memory of every node of every region, and whoever asks can see that it is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.cluster import FLAGS, HISTORY, NODES, REGIONS, Cluster
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.xdist_group("e2e-replication")


def test_a_write_at_any_node_is_in_the_memory_of_every_node(cluster: Cluster) -> None:
    created = {name: cluster.create(name, f"from-{name}")["change"]["id"] for name in NODES}
    assert len({change.partition(":")[0] for change in created.values()}) == len(NODES)
    on, off = [True] * len(NODES), [False] * len(NODES)
    cluster.everywhere(lambda at: [cluster.evaluate(at, f"from-{name}").get("value") for name in NODES] == on)
    for name in NODES:
        cluster.patch(NODES[0], f"from-{name}", {"environments": {"prod": {"default": "off"}}})
    cluster.everywhere(
        lambda at: [cluster.evaluate(at, f"from-{name}").get("value") for name in NODES] == off
    )


def test_status_shows_one_state_and_the_lag_of_each_region(cluster: Cluster) -> None:
    for name in NODES:
        cluster.create(name, f"status-{name}")
    cluster.settle()
    # What a node has not heard of a region since its start is said to be old, until its first digest.
    eventually(lambda: cluster.vexil("status", "--check").returncode == 0)
    seen = cluster.said("status")
    assert [(node["node"], node["region"], node["reached"]) for node in seen["nodes"]] == [
        (name, name[:2], True) for name in sorted(NODES)
    ]
    assert seen["troubles"] == []
    for project in ("_system", "demo"):
        agreed = seen["projects"][project]
        assert (agreed["converged"], agreed["forked"]) == (True, False)
        assert [state["nodes"] for state in agreed["states"]] == [sorted(NODES)]
    for node in seen["nodes"]:
        status = node["status"]
        assert status["ready"]
        assert status["projects"]["demo"]["conflicts"] == 0
        assert sum(status["alarms"].values()) == 0
        assert {member["node"] for member in status["members"]} == set(NODES)
        # What arrived from each region, the own one too (from the neighbour), was timed.
        assert set(status["lag_ms"]) == set(REGIONS)
        for lag in status["lag_ms"].values():
            assert 0 <= lag["p50"] <= lag["p99"] <= lag["max"]
    shown = cluster.vexil("status")
    assert shown.returncode == 0
    assert "6 of 6 nodes reached" in shown.stdout
    assert "same everywhere" in shown.stdout


def test_a_token_makes_any_node_show_what_its_holder_has_written(cluster: Cluster) -> None:
    cluster.create("eu-1", "mine", description="0")
    cluster.settle()
    writer, text = "eu-1", "0"
    for number in range(24):
        text = f"{number + 1}"
        wrote = cluster.ask(writer, "PATCH", f"{FLAGS}/mine", {"description": text})
        token = {"Vexil-Token": wrote.headers["Vexil-Token"], "Vexil-Wait-Ms": "10000"}
        reader = NODES[(number * 5 + 1) % len(NODES)]
        read = cluster.ask(reader, "GET", f"{FLAGS}/mine", headers=token)
        assert (read.json()["description"], "Vexil-Behind" in read.headers) == (text, False)
        # The reader's own write goes on top: a session that wanders from node to node never goes back.
        writer = reader


def test_a_node_that_cannot_reach_a_token_says_so_and_refuses_to_write_on_top(cluster: Cluster) -> None:
    cluster.create("us-1", "far", description="old")
    cluster.settle()
    for place in ("eu", "us", "ap-2"):
        cluster.link("ap-1", place, "cut", at=["ap-1"])
    wrote = cluster.ask("us-1", "PATCH", f"{FLAGS}/far", {"description": "new"})
    token = {"Vexil-Token": wrote.headers["Vexil-Token"], "Vexil-Wait-Ms": "200"}

    read = cluster.ask("ap-1", "GET", f"{FLAGS}/far", headers=token)
    assert (read.status_code, read.json()["description"]) == (200, "old")
    assert read.headers["Vexil-Behind"] == "true"
    refused = cluster.ask("ap-1", "PATCH", f"{FLAGS}/far", {"owner": "me"}, headers=token)
    assert (refused.status_code, refused.json()["code"]) == (409, "token.behind")
    assert refused.json()["definite"] is True
    # Cut off is no reason not to serve, nor not to take a write of somebody who has seen no more.
    assert cluster.ask("ap-1", "GET", "/readyz").is_success
    lonely = cluster.patch("ap-1", "far", {"tags": ["lonely"]})
    eventually(lambda: "ap-1" not in _alive_for(cluster, "us-1"))

    for place in ("eu", "us", "ap-2"):
        cluster.link("ap-1", place, "ok", at=["ap-1"])
    patient = {**token, "Vexil-Wait-Ms": "10000"}
    eventually(
        lambda: "Vexil-Behind" not in cluster.ask("ap-1", "GET", f"{FLAGS}/far", headers=patient).headers
    )
    cluster.settle()
    for name in NODES:
        flag = cluster.done(name, "GET", f"{FLAGS}/far")
        assert (flag["description"], flag["tags"], flag["conflicts"]) == ("new", ["lonely"], [])
    assert lonely["change"]["id"] in {item["id"] for item in cluster.items("us-2", HISTORY)}


def _alive_for(cluster: Cluster, name: str) -> set[str]:
    members = cluster.status(name)["members"]
    return {member["node"] for member in members if member["state"] in {"alive", "self"}}


def test_a_retry_at_another_node_after_the_first_died_is_the_same_change(cluster: Cluster) -> None:
    cluster.create("us-1", "retried", tags=["one"])
    cluster.settle()
    body = {"owner": "payments"}
    headers = {"Idempotency-Key": "the-same-every-time", "Vexil-Durability": "peer"}
    first = cluster.ask("us-1", "PATCH", f"{FLAGS}/retried", body, headers=headers)
    assert first.is_success, first.text
    change = first.json()["change"]
    assert change["durability"] in {"peer", "region"}
    # The answer got lost on its way: its reader knows the change's name from the error that he got instead.
    cluster.kill("us-1")
    others = [name for name in NODES if name != "us-1"]
    for name in others:
        named = {**headers, "Vexil-Change": change["id"]}
        again = cluster.ask(name, "PATCH", f"{FLAGS}/retried", body, headers=named)
        assert again.status_code == 200, (name, again.text)
        assert (again.json()["change"]["id"], again.json()["owner"]) == (change["id"], "payments")
        unnamed = cluster.ask(name, "PATCH", f"{FLAGS}/retried", body, headers=headers)
        assert unnamed.json()["change"]["id"] == change["id"]
        other = cluster.ask(name, "PATCH", f"{FLAGS}/retried", {"owner": "search"}, headers=headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency.mismatch")
    cluster.start("us-1")
    cluster.settle()
    for name in NODES:
        owners = [
            item["id"] for item in cluster.items(name, HISTORY, flag="retried") if _writes(item, "owner")
        ]
        assert owners == [change["id"]]


def test_a_retry_that_names_an_unknown_change_is_never_a_second_write(cluster: Cluster) -> None:
    cluster.create("eu-1", "unknown-outcome")
    cluster.settle()
    headers = {"Idempotency-Key": "nobody-has-seen-it", "Vexil-Change": "00000000deadbeef:7"}
    answer = cluster.ask("eu-2", "PATCH", f"{FLAGS}/unknown-outcome", {"owner": "me"}, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["definite"]) == (504, "write.indeterminate", False)
    assert cluster.done("eu-2", "GET", f"{FLAGS}/unknown-outcome")["owner"] == ""


def _writes(item: dict[str, Any], field: str) -> bool:
    return any(each["field"] == field for each in item["fields"])
