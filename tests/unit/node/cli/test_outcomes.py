"""Fail-over, repetition, errors and exit codes: what the client does when a node does not simply answer."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.unit.node.cli.fake_node import CHANGE, FakeCluster, answer, problem

FLAG = "/api/v1/projects/demo/flags/banner"
KILL = f"{FLAG}/environments/prod/kill"
KILL_COMMAND = ("flag", "kill", "banner", "--env", "prod")
DONE = answer({"change": CHANGE})
LOST = httpx.ReadError("connection reset by peer")
UNKNOWN = problem(
    504, "write.indeterminate", definite=False, change=CHANGE["id"], title="The outcome is unknown"
)


def test_a_dead_first_node_is_passed_over(pair: FakeCluster) -> None:
    pair["eu-1"].down = True
    pair["us-1"].on("POST", KILL, DONE)
    result = pair.run(*KILL_COMMAND)
    assert result.exit_code == 0
    assert result.stderr == ""


def test_a_node_that_is_not_ready_is_passed_over(pair: FakeCluster) -> None:
    pair["eu-1"].on("POST", KILL, problem(503, "node.not_ready"))
    pair["us-1"].on("POST", KILL, DONE)
    assert pair.run(*KILL_COMMAND).exit_code == 0


def test_after_a_fail_over_the_node_is_stayed_with(pair: FakeCluster) -> None:
    pair["eu-1"].on("GET", FLAG, httpx.ConnectError("refused"))
    pair["eu-1"].on("PATCH", FLAG, DONE)
    pair["us-1"].on("GET", FLAG, answer({"key": "banner"}, etag='"u"', vexil_token="t"))
    pair["us-1"].on("PATCH", FLAG, DONE)
    assert pair.run("flag", "set", "banner", "owner=me").exit_code == 0
    assert pair["us-1"].calls == [("GET", FLAG), ("PATCH", FLAG)]


def test_a_read_whose_answer_is_lost_is_asked_elsewhere(pair: FakeCluster) -> None:
    pair["eu-1"].on("GET", FLAG, LOST)
    pair["us-1"].on("GET", FLAG, answer({"key": "banner"}))
    assert pair.run("flag", "get", "banner").exit_code == 0


def test_no_node_at_all_names_every_url_and_how_to_start_one(pair: FakeCluster) -> None:
    pair["eu-1"].down = pair["us-1"].down = True
    result = pair.run(*KILL_COMMAND)
    assert result.exit_code == 1
    for part in ("http://127.0.0.1:8100", "http://127.0.0.1:8102", "Connection refused", "vexil dev"):
        assert part in result.stderr


def test_an_unknown_outcome_is_asked_about_once_with_the_same_key_and_the_change(pair: FakeCluster) -> None:
    pair["eu-1"].on("POST", KILL, UNKNOWN, DONE)
    result = pair.run(*KILL_COMMAND)
    assert result.exit_code == 0
    first, second = pair["eu-1"].requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert "vexil-change" not in first.headers
    assert second.headers["vexil-change"] == CHANGE["id"]


def test_two_commands_never_share_an_idempotency_key(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", KILL, DONE)
    cluster.run(*KILL_COMMAND)
    cluster.run(*KILL_COMMAND)
    first, second = cluster["eu-1"].requests
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_a_lost_answer_is_asked_for_at_the_same_node_only(pair: FakeCluster) -> None:
    # Another node may not have the change yet, and without its name cannot tell a repetition from a new write.
    pair["eu-1"].on("POST", KILL, LOST, httpx.ConnectError("refused"))
    pair["us-1"].on("POST", KILL, DONE)
    result = pair.run(*KILL_COMMAND)
    assert result.exit_code == 3
    assert pair["us-1"].requests == []


def test_a_change_that_was_named_may_be_asked_for_anywhere(pair: FakeCluster) -> None:
    pair["eu-1"].on("POST", KILL, UNKNOWN, httpx.ConnectError("refused"))
    pair["us-1"].on("POST", KILL, DONE)
    assert pair.run(*KILL_COMMAND).exit_code == 0
    assert pair["us-1"].requests[0].headers["vexil-change"] == CHANGE["id"]


@pytest.mark.parametrize(
    "reply",
    [
        LOST,
        UNKNOWN,
        httpx.ReadTimeout("timed out"),
        httpx.RemoteProtocolError("server disconnected"),
        httpx.Response(502, text="<html>bad gateway</html>"),
    ],
    ids=["lost", "504", "time-out", "disconnected", "proxy"],
)
def test_what_stays_unknown_ends_with_3_and_says_so(
    cluster: FakeCluster, reply: httpx.Response | Exception
) -> None:
    cluster["eu-1"].on("POST", KILL, reply)
    result = cluster.run(*KILL_COMMAND)
    assert result.exit_code == 3
    assert len(cluster["eu-1"].requests) == 2
    assert "the outcome is unknown" in result.stderr
    assert "vexil history" in result.stderr
    assert (CHANGE["id"] in result.stderr) == (reply is UNKNOWN)


@pytest.mark.parametrize("lost", [LOST, UNKNOWN], ids=["lost", "504"])
@pytest.mark.parametrize(
    ("status", "code", "requests"),
    [
        (503, "node.not_ready", 6),
        (429, "rate.limited", 6),
        (401, "key.invalid", 2),
        (412, "flag.stale", 2),
        (422, "idempotency.mismatch", 2),
        (503, "durability.unavailable", 2),
    ],
)
def test_a_refused_repetition_is_not_the_outcome(
    cluster: FakeCluster, lost: httpx.Response | Exception, status: int, code: str, requests: int
) -> None:
    cluster["eu-1"].on("POST", KILL, lost, problem(status, code))
    result = cluster.run(*KILL_COMMAND)
    assert result.exit_code == 3
    assert code in result.stderr
    assert "the outcome is unknown" in result.stderr
    assert len(cluster["eu-1"].requests) == requests
    assert len({request.headers["idempotency-key"] for request in cluster["eu-1"].requests}) == 1


@pytest.mark.parametrize(("status", "code"), [(503, "node.not_ready"), (429, "rate.limited")])
def test_a_repetition_waits_for_a_node_that_starts_again(pair: FakeCluster, status: int, code: str) -> None:
    refusal = problem(status, code)
    refusal.headers["retry-after"] = "2"
    pair["eu-1"].on("POST", KILL, LOST, refusal, refusal, DONE)
    pair["us-1"].on("POST", KILL, DONE)
    assert pair.run(*KILL_COMMAND).exit_code == 0
    assert len(pair["eu-1"].requests) == 4
    assert pair["us-1"].requests == []
    assert len(pair.pauses) == 2
    assert all(2 <= pause <= 3 for pause in pair.pauses)


def test_the_pauses_grow_and_are_not_the_same_for_everybody(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", KILL, LOST, problem(503, "node.not_ready"))
    first = [cluster.run(*KILL_COMMAND).exit_code, *cluster.pauses]
    assert [low <= pause <= 1.5 * low for low, pause in zip((0.5, 1, 2, 4), first[1:], strict=True)] == [
        True
    ] * 4
    for _ in range(3):
        cluster["eu-1"].on("POST", KILL, LOST, problem(503, "node.not_ready"))
        cluster.run(*KILL_COMMAND)
    assert len(set(cluster.pauses)) > 4


def test_a_node_that_wants_to_be_left_alone_for_long_is_not_waited_for(cluster: FakeCluster) -> None:
    refusal = problem(429, "rate.limited")
    refusal.headers["retry-after"] = "3600"
    cluster["eu-1"].on("POST", KILL, LOST, refusal)
    assert cluster.run(*KILL_COMMAND).exit_code == 3
    assert cluster.pauses == []


def test_a_repetition_that_is_lost_too_after_a_pause_stays_unknown(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", KILL, LOST, problem(503, "node.not_ready"), LOST, DONE)
    assert cluster.run(*KILL_COMMAND).exit_code == 3
    assert len(cluster["eu-1"].requests) == 3


def test_an_interrupted_repetition_leaves_the_outcome_unknown(cluster: FakeCluster) -> None:
    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    cluster["eu-1"].on("POST", KILL, LOST, interrupt)
    assert cluster.run(*KILL_COMMAND).exit_code == 3


def test_a_flag_in_use_is_shown_with_who_uses_it(cluster: FakeCluster) -> None:
    detail = "flag 'banner' is required by checkout"
    cluster["eu-1"].on("GET", FLAG, answer({"key": "banner"}, etag='"e"'))
    cluster["eu-1"].on("DELETE", FLAG, problem(409, "flag.in_use", title="It is in use", detail=detail))
    result = cluster.run("flag", "delete", "banner")
    assert result.exit_code == 1
    for part in ("It is in use", detail, "flag.in_use"):
        assert part in result.stderr


def test_a_definite_refusal_is_never_repeated(pair: FakeCluster) -> None:
    pair["eu-1"].on("POST", KILL, problem(503, "durability.unavailable", title="Not durable enough now"))
    result = pair.run(*KILL_COMMAND)
    assert result.exit_code == 1
    assert len(pair["eu-1"].requests) == 1
    assert pair["us-1"].requests == []


def test_a_problem_is_shown_with_its_code_and_every_path(cluster: FakeCluster) -> None:
    errors = [{"path": "/variants/on", "detail": "must be a boolean"}, {"path": "", "detail": "also wrong"}]
    cluster["eu-1"].on(
        "POST", KILL, problem(422, "flag.invalid", title="The request is not valid", errors=errors)
    )
    result = cluster.run(*KILL_COMMAND)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: The request is not valid",
        "  /variants/on: must be a boolean",
        "  (body): also wrong",
        "  (flag.invalid, from http://127.0.0.1:8100)",
    ]


def test_with_json_an_error_is_one_object_on_standard_error(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", KILL, problem(404, "flag.not_found", title="Not found", detail="no banner"))
    result = cluster.run("--json", *KILL_COMMAND)
    assert result.stdout == ""
    shown = json.loads(result.stderr)
    assert (shown["code"], shown["status"], shown["exit_code"]) == ("flag.not_found", 404, 1)


def test_with_json_an_unknown_outcome_names_what_is_needed_to_go_on(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", KILL, UNKNOWN)
    shown = json.loads(cluster.run(*KILL_COMMAND, "--json").stderr)
    assert shown["change"] == CHANGE["id"]
    assert shown["idempotency_key"] == cluster["eu-1"].requests[0].headers["idempotency-key"]
    assert (shown["definite"], shown["exit_code"]) == (False, 3)


def test_a_rate_limit_says_when_to_come_back(cluster: FakeCluster) -> None:
    reply = problem(429, "rate.limited")
    reply.headers["retry-after"] = "7"
    cluster["eu-1"].on("POST", KILL, reply)
    assert "try again in 7 s" in cluster.run(*KILL_COMMAND).stderr


def test_a_wrong_key_says_where_keys_come_from(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", KILL, problem(401, "key.invalid"))
    result = cluster.run(*KILL_COMMAND)
    assert result.exit_code == 1
    assert "VEXIL_KEY" in result.stderr


def test_something_that_is_no_node_is_called_so(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", FLAG, httpx.Response(200, text="<html>hello</html>"))
    result = cluster.run("flag", "get", "banner")
    assert result.exit_code == 1
    assert "not a Vexil node" in result.stderr


def test_an_answer_from_behind_is_marked(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", FLAG, answer({"key": "banner"}, vexil_behind="true"))
    result = cluster.run("flag", "get", "banner")
    assert result.exit_code == 0
    assert "behind" in result.stderr


def test_what_comes_from_a_node_never_moves_the_cursor(cluster: FakeCluster) -> None:
    cluster["eu-1"].on(
        "GET", FLAG, answer({"key": "banner", "description": "\x1b[2J\nx\u202e", "owner": "日本"})
    )
    shown = cluster.run("flag", "get", "banner").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[2J\\nx\\u202e" in shown
    assert "日本" in shown
