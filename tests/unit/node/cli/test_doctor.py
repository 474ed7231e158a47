"""`vexil doctor` says what is wrong and what to do about each of it, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.node.cli.fake_node import FakeCluster, answer, problem
from tests.unit.node.cli.test_status import STATUS, status_of
from vexil.node.cli.findings import UNHEARD_MS_MAX

BLOCKED = [{"node": "ap-9", "registration": "aa", "since": "2026-01-01T00:00:00Z", "waited_ms": 9}]
REPAIR = {
    "project": "demo", "peer": "us-1", "time": "2026-01-01T00:00:00Z", "cells": 1, "root": False, "left": 0,
    "differences": [{"object": "flag/a", "field": "description", "ours": "1: 'x'", "taken": "1: 'y'"}],
}  # fmt: skip
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("node.not_ready", {"ready": False}, "is not ready", "log"),
    ("node.standing", {"standing": "evicted"}, "is evicted", "vexil member return"),
    ("node.standing", {"standing": "restored"}, "is restored", "peer"),
    ("node.standing", {"standing": "unknown"}, "is unknown", "begins anew by itself"),
    ("node.standing", {"standing": "joining", "ready": False}, "is joining", "seeds"),
    ("node.standing", {"standing": "something new"}, "something new", "log"),
    ("links.cut", {"links_cut": [["eu-1", "us"]]}, "eu-1 and us", "/api/v1/dev/links"),
    ("region.stale", {"stale_regions": ["us", "ap"]}, "us, ap", "network"),
    ("member.unheard", {"members": [{"node": "ap-9", "state": "unheard"}]}, "ap-9", "vexil member evict ap-9"),
    (
        "member.unheard",
        {"members": [{"node": "ap-9", "state": "unheard", "known_ms": UNHEARD_MS_MAX}]},
        "never heard ap-9",
        "vexil member evict ap-9",
    ),
    ("member.unreachable", {"members": [{"node": "ap-9", "state": "unreachable"}]}, "ap-9", "evict ap-9"),
    ("garbage.blocked", {"garbage": {"demo": {"blocked_by": BLOCKED}}}, "ap-9 since 2026", "evict ap-9"),
    (
        "garbage.blocked",
        {"garbage": {"demo": {"blocked_by": [{**by, "twins": True} for by in BLOCKED]}}},
        "two processes run as it",
        "end one of the two",
    ),
    ("alarm.forks", {"alarms": {"forks": 2}}, "two histories", "empty folder"),
    ("alarm.twins", {"alarms": {"twins": 1}}, "another process", "vexil member add"),
    ("alarm.divergences", {"alarms": {"divergences": 1}}, "under its own vector", "memory"),
    ("alarm.repairs", {"alarms": {"repairs": 1}}, "mended", "memory"),
    ("alarm.aside", {"alarms": {"aside": 7}}, "(7 since its start)", "log"),
    ("alarm.damaged", {"alarms": {"damaged": 1}}, "lacks changes", "vexil doctor --data"),
    ("alarm.restored", {"alarms": {"restored": 1}}, "older copy", "standing"),
    ("alarm.unknown", {"alarms": {"unknown": 1}}, "sponsor", "vexil conflicts"),
    ("alarm.journal_full", {"alarms": {"journal_full": 3}}, "refused writes", "make room"),
    ("alarm.unheard_of", {"alarms": {"unheard_of": 1}}, "unheard_of", "log"),
    ("store.away", {"store": {"kind": "sqlite", "state": "unavailable", "backlog": 12}}, "12 changes", "disk"),
    ("store.backlog", {"store": {"kind": "x", "state": "available", "backlog": 99_999}}, "99999", "slow"),
    ("log.damaged", {"store": {"state": "available", "damaged_records": 4}}, "4 damaged rows", "--data"),
    ("clock.offset", {"clock": {"offset_ms": -7000, "suspect": False}}, "-7000 ms", "NTP"),
    ("clock.offset", {"clock": {"offset_ms": 90_000, "suspect": True}}, "takes kills only", "NTP"),
    ("project.quarantined", {"projects": {"demo": {"quarantined": 2}}}, "2 broken", "vexil conflicts --project demo"),
]  # fmt: skip
NOTES: list[tuple[str, dict[str, Any], str]] = [
    ("repair", {"repairs": [REPAIR]}, "flag/a description: 1: 'x' → 1: 'y'"),
    ("member.suspected", {"members": [{"node": "ap-9", "state": "suspected"}]}, "ap-9"),
    (
        "member.new",
        {"members": [{"node": "ap-9", "state": "unheard", "known_ms": 3_000}]},
        "not heard ap-9 yet",
    ),
    (
        "member.new",
        {
            "members": [{"node": "ap-9", "region": "ap", "state": "unheard", "known_ms": 3_000}],
            "stale_regions": ["ap"],
        },
        "not heard ap-9 yet",
    ),
    ("node.returning", {"returning": {"changes": 9, "done": 4, "finished": False}}, "4 of 9"),
]


def found(cluster: FakeCluster, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the findings."""
    result = cluster.run("doctor", "--json", *arguments)
    document = json.loads(result.stdout)
    assert document["healthy"] is (result.exit_code == 0)
    return result.exit_code, document["findings"]


def test_a_healthy_cluster_needs_nothing(pair: FakeCluster) -> None:
    for name in ("eu-1", "us-1"):
        pair[name].on(
            "GET", STATUS, answer(status_of(name, standing="member", alarms={"forks": 0}, repairs=[]))
        )
    result = pair.run("doctor")
    assert result.exit_code == 0
    assert "asked: eu-1 us-1" in result.stdout
    assert "nothing is wrong" in result.stdout
    assert found(pair) == (0, [])


def test_an_older_node_that_says_less_is_not_found_wrong(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", STATUS, answer({"node": "eu-1", "region": "eu", "ready": True}))
    assert found(cluster) == (0, [])


@pytest.mark.parametrize(("code", "said", "what", "advice"), WRONG, ids=lambda value: str(value)[:40])
def test_whatever_is_wrong_is_told_with_what_to_do(
    cluster: FakeCluster, code: str, said: dict[str, Any], what: str, advice: str
) -> None:
    cluster["eu-1"].on("GET", STATUS, answer(status_of("eu-1", **said)))
    exit_code, (finding,) = found(cluster)
    assert exit_code == 1
    assert finding["code"] == code
    assert finding["serious"] is True
    assert "eu-1" in finding["where"]
    assert what in finding["what"]
    assert advice in finding["do"]
    shown = cluster.run("doctor").stdout
    assert what in shown
    assert advice in shown
    assert "1 thing needs doing" in shown


@pytest.mark.parametrize(("code", "said", "what"), NOTES, ids=lambda value: str(value)[:40])
def test_what_is_only_worth_knowing_is_no_failure(
    cluster: FakeCluster, code: str, said: dict[str, Any], what: str
) -> None:
    cluster["eu-1"].on("GET", STATUS, answer(status_of("eu-1", **said)))
    exit_code, (finding,) = found(cluster)
    assert exit_code == 0
    assert (finding["code"], finding["serious"]) == (code, False)
    assert what in finding["what"]


@pytest.mark.parametrize("standing", ["evicted", "unknown"])
def test_whom_the_others_refuse_is_not_asked_about_them(cluster: FakeCluster, standing: str) -> None:
    refused = status_of(
        "eu-1",
        standing=standing,
        members=[{"node": "ap-9", "region": "ap", "state": "unreachable"}],
        stale_regions=["ap"],
        garbage={"demo": {"blocked_by": BLOCKED}},
    )
    cluster["eu-1"].on("GET", STATUS, answer(refused))
    _, (finding,) = found(cluster)
    assert finding["code"] == "node.standing"


def test_a_finished_return_is_silent(cluster: FakeCluster) -> None:
    returning = {"changes": 9, "done": 9, "finished": True}
    cluster["eu-1"].on("GET", STATUS, answer(status_of("eu-1", returning=returning)))
    assert found(cluster) == (0, [])


def test_a_node_that_cannot_be_reached_is_found(pair: FakeCluster) -> None:
    pair["eu-1"].down = True
    pair["us-1"].on("GET", STATUS, answer(status_of("us-1")))
    exit_code, (finding,) = found(pair)
    assert exit_code == 1
    assert (finding["code"], finding["where"]) == ("node.unreachable", "eu-1")
    assert "vexil member evict" in finding["do"]


def test_a_node_that_is_evicted_already_need_not_be_reached(pair: FakeCluster) -> None:
    pair["eu-1"].down = True
    evicted = [{"node": "eu-1", "region": "eu", "state": "evicted"}]
    pair["us-1"].on("GET", STATUS, answer(status_of("us-1", members=evicted)))
    exit_code, (finding,) = found(pair)
    assert exit_code == 0
    assert (finding["code"], finding["where"]) == ("node.gone", "eu-1")


def test_no_node_at_all_is_told_for_each(pair: FakeCluster) -> None:
    pair["eu-1"].down = pair["us-1"].down = True
    exit_code, findings = found(pair)
    assert exit_code == 1
    assert [finding["where"] for finding in findings] == ["eu-1", "us-1"]


def test_equal_vectors_with_unequal_states_are_found(pair: FakeCluster) -> None:
    pair["eu-1"].on("GET", STATUS, answer(status_of("eu-1", vv="v1", root="r1")))
    pair["us-1"].on("GET", STATUS, answer(status_of("us-1", vv="v1", root="r2")))
    exit_code, (finding,) = found(pair)
    assert exit_code == 1
    assert (finding["code"], finding["where"]) == ("project.diverged", "demo")


def test_different_vectors_are_the_way_of_every_cluster(pair: FakeCluster) -> None:
    pair["eu-1"].on("GET", STATUS, answer(status_of("eu-1", vv="v1", root="r1")))
    pair["us-1"].on("GET", STATUS, answer(status_of("us-1", vv="v2", root="r2")))
    assert found(pair) == (0, [])


@pytest.mark.parametrize("junk", [None, 7, "x", [], [7, None, [], {}], {}, {"a": 1, "b": [None]}, True])
def test_nothing_that_a_node_says_breaks_it(cluster: FakeCluster, junk: object) -> None:
    names = [
        *status_of("eu-1"),
        "standing",
        "returning",
        "alarms",
        "garbage",
        "links_cut",
        "repairs",
        "stale_regions",
    ]
    for name in names:
        said = {**status_of("eu-1"), name: junk}
        cluster["eu-1"].on("GET", STATUS, answer(said))
        result = cluster.run("doctor")
        assert result.exit_code in {0, 1}, (name, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), (name, result.exception)
    for inner in (
        {"projects": {"demo": junk}},
        {"garbage": {"demo": {"blocked_by": junk}}},
        {"alarms": {"x": junk}},
        {
            "members": [{"node": junk, "region": junk, "state": "unheard", "known_ms": junk}],
            "stale_regions": [junk],
        },
        {
            "members": [{"node": junk, "region": junk, "state": "unheard", "known_ms": 1}],
            "stale_regions": [junk],
        },
    ):
        cluster["eu-1"].on("GET", STATUS, answer(status_of("eu-1", **inner)))
        assert cluster.run("doctor").exit_code in {0, 1}
    cluster["eu-1"].on("GET", STATUS, answer(junk))
    assert cluster.run("doctor").exit_code == 1


def test_what_a_node_says_moves_no_cursor(cluster: FakeCluster) -> None:
    members = [{"node": "\x1b[2Jap", "state": "unheard"}]
    cluster["eu-1"].on("GET", STATUS, answer(status_of("eu-1", members=members)))
    assert "\x1b" not in cluster.run("doctor").stdout


def test_a_key_that_may_not_ask_is_an_error_and_not_a_dead_node(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", STATUS, problem(403, "key.forbidden"))
    result = cluster.run("doctor")
    assert result.exit_code == 1
    assert "key.forbidden" in result.stderr
