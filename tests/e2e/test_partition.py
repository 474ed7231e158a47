"""Regions are cut off and killed, write all the same, and come back to one state in which nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.cluster import CONFLICTS, FLAGS, HISTORY, NODES, Cluster
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.xdist_group("e2e-partition")

EU, US, AP = ("eu-1", "eu-2"), ("us-1", "us-2"), ("ap-1", "ap-2")
ROUNDS = 10


class Ledger:
    """Every change that a node has acknowledged, with who took it; at the end each must be everywhere."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.acknowledged: dict[str, str] = {}

    def note(self, node: str, answer: dict[str, Any]) -> str:
        change = answer["change"]["id"]
        assert change not in self.acknowledged, "one name for two changes"
        self.acknowledged[change] = node
        return change

    def is_kept_everywhere(self) -> None:
        for name in NODES:
            kept = {item["id"]: item for item in self._cluster.items(name, HISTORY)}
            assert self.acknowledged.items() <= {key: item["node"] for key, item in kept.items()}.items()


def test_what_both_sides_of_a_cut_wrote_is_all_there_and_the_race_is_reported(cluster: Cluster) -> None:
    ledger = Ledger(cluster)
    ledger.note("eu-1", cluster.create("eu-1", "contested", description="as it was"))
    ledger.note("eu-2", cluster.create("eu-2", "shared", tags=["old"]))
    cluster.settle()

    cluster.kill(*EU)
    cluster.link("us", "ap", "cut", at=[*US, *AP])
    for number in range(ROUNDS):
        for name in (*US, *AP):
            flag = f"cut-{name}-{number}"
            ledger.note(name, cluster.create(name, flag))
            ledger.note(name, cluster.patch(name, flag, {"description": f"by {name}"}))
            ledger.note(name, add_tag(cluster, name, "shared", f"{name}.{number}"))
    in_us = ledger.note("us-1", cluster.patch("us-1", "contested", {"description": "us says"}))
    in_ap = ledger.note("ap-2", cluster.patch("ap-2", "contested", {"description": "ap says"}))
    # Other fields of the same flag are nobody's race.
    ledger.note("us-2", cluster.patch("us-2", "contested", {"owner": "payments"}))
    ledger.note("ap-1", cluster.patch("ap-1", "contested", {"environments": {"prod": {"default": "off"}}}))
    for side, says in ((US, "us says"), (AP, "ap says")):
        cluster.settle(side)
        for name in side:
            assert cluster.done(name, "GET", f"{FLAGS}/contested")["description"] == says
            assert cluster.items(name, CONFLICTS) == []
    assert cluster.ask("us-1", "GET", f"{FLAGS}/cut-ap-1-0").status_code == 404

    # A region that both reach carries what they cannot tell each other; then they can.
    cluster.start(*EU)
    cluster.settle()
    cluster.link("us", "ap", "ok", at=[*US, *AP])
    ledger.note("us-1", cluster.patch("us-1", "cut-ap-1-0", {"description": "seen in us"}))
    cluster.settle()

    ledger.is_kept_everywhere()
    flags = [cluster.items(name, FLAGS) for name in NODES]
    assert all(each == flags[0] for each in flags[1:])
    shown = {flag["key"]: flag for flag in flags[0]}
    assert set(shown["shared"]["tags"]) == {
        "old", *(f"{name}.{number}" for name in (*US, *AP) for number in range(ROUNDS))
    }  # fmt: skip
    assert shown["contested"]["owner"] == "payments"
    assert shown["contested"]["environments"]["prod"]["default"] == "off"

    conflicts = [cluster.items(name, CONFLICTS) for name in NODES]
    assert all(each == conflicts[0] for each in conflicts[1:])
    (conflict,) = conflicts[0]
    assert (conflict["kind"], conflict["flag"], conflict["field"]) == ("lww", "contested", "description")
    siblings = {sibling["change"]: sibling for sibling in conflict["siblings"]}
    assert siblings.keys() == {in_us, in_ap}
    for change, name, says in ((in_us, "us-1", "us says"), (in_ap, "ap-2", "ap says")):
        sibling = siblings[change]
        assert (sibling["node"], sibling["region"], sibling["value"]) == (name, name[:2], says)
        assert sibling["author"].startswith("bootstrap")
        (made,) = [item for item in cluster.items("eu-2", HISTORY, flag="contested") if item["id"] == change]
        assert (sibling["time"], sibling["author"]) == (made["time"], made["author"])
        lost = [field["lost"] for field in made["fields"] if field["field"] == "description"]
        assert lost == [change != conflict["winner"]]
    assert shown["contested"]["description"] == siblings[conflict["winner"]]["value"]
    assert cluster.status("ap-1")["projects"]["demo"]["conflicts"] == 1

    listed = cluster.vexil("conflicts", "--node", "eu-1").stdout
    assert all(
        part in listed for part in (conflict["id"], in_us, in_ap, "us says", "ap says", "us/us-1", "ap/ap-2")
    )
    (loser,) = siblings.keys() - {conflict["winner"]}
    settled = cluster.vexil("conflicts", "resolve", conflict["id"], "--choose", loser, "--node", "us-2")
    assert settled.returncode == 0, settled.stderr
    cluster.everywhere(lambda name: cluster.items(name, CONFLICTS) == [])
    for name in NODES:
        flag = cluster.done(name, "GET", f"{FLAGS}/contested")
        assert flag["description"] == siblings[loser]["value"]
        assert flag["conflicts"] == []
    again = cluster.ask("ap-1", "POST", f"{CONFLICTS}/{conflict['id']}/resolve", {"choose": loser})
    assert (again.status_code, again.json()["code"]) == (409, "conflict.changed")
    refused = cluster.vexil("conflicts", "resolve", conflict["id"], "--choose", loser)
    assert refused.returncode == 1
    assert "others by now" in refused.stderr
    cluster.settle()
    ledger.is_kept_everywhere()


def test_a_conflict_that_was_settled_on_one_side_of_a_cut_is_another_one_after_it(cluster: Cluster) -> None:
    cluster.create("eu-1", "twice", owner="nobody")
    cluster.settle()
    cluster.isolate("ap")
    cluster.patch("eu-1", "twice", {"owner": "eu"})
    cluster.patch("ap-1", "twice", {"owner": "ap"})
    cluster.rejoin("ap")
    eventually(lambda: all(_about(cluster, name, "twice") for name in NODES))
    (first,) = _about(cluster, "eu-1", "twice")
    cluster.isolate("ap")
    resolve = f"{CONFLICTS}/{first['id']}/resolve"
    cluster.done("us-1", "POST", resolve, {"value": "settled in us"})
    cluster.done("ap-2", "POST", resolve, {"value": "settled in ap"})
    cluster.rejoin("ap")
    cluster.settle()
    found = [_about(cluster, name, "twice") for name in NODES]
    assert all(each == found[0] for each in found[1:])
    (second,) = found[0]
    assert second["id"] != first["id"]
    assert {sibling["value"] for sibling in second["siblings"]} == {"settled in us", "settled in ap"}
    stale = cluster.ask("eu-1", "POST", resolve, {"value": "too late"})
    assert (stale.status_code, stale.json()["code"]) == (409, "conflict.changed")
    chosen = second["siblings"][0]
    cluster.done("eu-1", "POST", f"{CONFLICTS}/{second['id']}/resolve", {"choose": chosen["change"]})
    cluster.settle()
    assert [cluster.done(name, "GET", f"{FLAGS}/twice")["owner"] for name in NODES] == [
        chosen["value"]
    ] * len(NODES)


def test_an_acknowledged_write_of_a_region_that_died_unheard_comes_back_with_it(cluster: Cluster) -> None:
    ledger = Ledger(cluster)
    cluster.create("us-1", "unheard", description="before")
    cluster.settle()
    for place in ("us", "ap"):
        cluster.link("eu", place, "cut", at=EU)
    cluster.link("eu-1", "eu-2", "cut", at=EU)
    for name in EU:
        for number in range(ROUNDS):
            ledger.note(name, add_tag(cluster, name, "unheard", f"{name}.{number}"))
    last = cluster.ask("eu-2", "PATCH", f"{FLAGS}/unheard", {"description": "the last word"})
    cluster.kill(*EU)
    ledger.note("eu-2", last.json())
    for name in (*US, *AP):
        assert cluster.done(name, "GET", f"{FLAGS}/unheard")["description"] == "before"
    cluster.start(*EU)
    cluster.settle()
    ledger.is_kept_everywhere()
    for name in NODES:
        flag = cluster.done(name, "GET", f"{FLAGS}/unheard")
        assert flag["description"] == "the last word"
        assert set(flag["tags"]) == {f"{node}.{number}" for node in EU for number in range(ROUNDS)}


def test_a_change_of_several_flags_is_nowhere_in_part(cluster: Cluster) -> None:
    keys = [f"together-{number}" for number in range(5)]
    for key in keys:
        cluster.create("us-1", key, description="0")
    cluster.settle()
    for number in range(1, ROUNDS + 1):
        operations = [{"op": "patch", "flag": key, "patch": {"description": f"{number}"}} for key in keys]
        cluster.done("us-1", "POST", "/api/v1/projects/demo/changes", {"operations": operations})
        for name in NODES:
            seen = {flag["description"] for flag in cluster.items(name, FLAGS, q="together-")}
            assert len(seen) == 1, f"{name} shows half a change"
    cluster.everywhere(
        lambda name: (
            {flag["description"] for flag in cluster.items(name, FLAGS, q="together-")} == {f"{ROUNDS}"}
        )
    )


def _about(cluster: Cluster, name: str, flag: str) -> list[dict[str, Any]]:
    return [conflict for conflict in cluster.items(name, CONFLICTS) if conflict["flag"] == flag]


def add_tag(cluster: Cluster, name: str, flag: str, tag: str) -> dict[str, Any]:
    operation = {"op": "add_tag", "flag": flag, "tag": tag}
    return cluster.done(name, "POST", "/api/v1/projects/demo/changes", {"operations": [operation]})
