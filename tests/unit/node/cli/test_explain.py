"""``vexil flag explain``: what it asks of the node, and how it tells the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.node.cli.fake_node import FakeCluster, answer, body, problem

EXPLAIN = "/api/v1/projects/demo/flags/checkout/explain"
WRITE = {
    "field": "env/prod/rule/r2",
    "environment": "prod",
    "value": {"if": True},
    "change": "00000000000000aa:7",
    "author": "ann",
    "region": "eu",
    "node": "eu-1",
    "time": "2026-11-21T12:00:00.000Z",
}
NEVER = dict.fromkeys(WRITE) | {"field": "env/prod/enabled", "environment": "prod"}
SPLIT = {
    "by": "u1",
    "bucket": 57,
    "total": 100,
    "entries": [
        {"variant": "on", "weight": 10, "from": 0, "to": 10},
        {"variant": "off", "weight": 90, "from": 10, "to": 100},
    ],
    "entry": 1,
}
FOUND: dict[str, Any] = {
    "key": "checkout",
    "environment": "prod",
    "value": False,
    "variant": "off",
    "reason": "TARGETING_MATCH",
    "trace": [
        {"step": "enabled", "enabled": True, "kill": False},
        {"step": "prerequisite", "flag": "base", "variant": "on", "gave": "on", "met": True},
        {"step": "rule", "id": "r0", "description": "", "held": None, "defect": "dangling-variant"},
        {"step": "rule", "id": "r1", "description": "staff", "if": {"var": "x"}, "held": False},
        {
            "step": "rule",
            "id": "r2",
            "description": "",
            "if": True,
            "held": True,
            "split": SPLIT,
            "gave": "off",
        },
    ],
    "decided_by": [WRITE, NEVER],
}


def told(cluster: FakeCluster, **members: Any) -> list[str]:
    cluster["eu-1"].on("POST", EXPLAIN, answer(FOUND | members))
    result = cluster.run("flag", "explain", "checkout", "--env", "prod")
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_every_step_is_a_line_and_every_write_a_row(cluster: FakeCluster) -> None:
    assert told(cluster) == [
        "checkout in prod gives off (false): TARGETING_MATCH",
        "enabled yes",
        "needs base on, gave on: met",
        "rule r0 passed over (dangling-variant)",
        "rule r1 does not hold: staff",
        'rule r2 holds: off, by bucket 57 of 100 for "u1": on below 10, off below 100',
        "",
        "decided by",
        "FIELD VALUE AUTHOR WHERE TIME CHANGE",
        'env/prod/rule/r2 {"if": true} ann eu/eu-1 2026-11-21T12:00:00.000Z 00000000000000aa:7',
        "env/prod/enabled (never written) - - - -",
    ]


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ({"step": "enabled", "enabled": True, "kill": True}, "enabled killed"),
        ({"step": "enabled", "enabled": False, "kill": False}, "enabled no"),
        (
            {"step": "enabled", "enabled": True, "kill": False, "cycle": True},
            "enabled yes, but the flag needs itself",
        ),
        (
            {"step": "enabled", "enabled": True, "kill": False, "broken": "limit.rules"},
            "enabled yes, but the flag cannot be read: limit.rules",
        ),
        (
            {"step": "prerequisite", "flag": "base", "variant": "on", "gave": None, "met": False},
            "needs base on, gave no variant: not met",
        ),
        ({"step": "prerequisite", "flag": None, "met": False, "rest": 9}, "needs 9 more flags: not all met"),
        ({"step": "rule", "id": "r", "description": "x", "held": None}, "rule r fails: x"),
        (
            {"step": "rule", "id": "r", "description": "ours", "held": True, "serve": "on", "gave": "on"},
            "rule r holds: ours → on",
        ),
        ({"step": "targeting", "held": True, "if": True}, "targeting holds, and fails"),
        (
            {"step": "targeting", "held": True, "gave": None, "split": {**SPLIT, "by": None, "bucket": None}},
            "targeting holds: nothing, because null falls into no bucket",
        ),
        ({"step": "default", "variant": None}, "default none: the caller's own default"),
        ({"step": "off_variant", "variant": "off"}, "off variant off"),
        ({"step": "error", "code": "PARSE_ERROR", "details": "unknown"}, "error PARSE_ERROR: unknown"),
    ],
)
def test_what_a_step_says(cluster: FakeCluster, step: dict[str, Any], line: str) -> None:
    assert told(cluster, trace=[step])[1] == line


def test_no_value_is_said_in_words(cluster: FakeCluster) -> None:
    without = {name: value for name, value in FOUND.items() if name != "value"}
    cluster["eu-1"].on("POST", EXPLAIN, answer(without | {"variant": "", "reason": "DISABLED"}))
    result = cluster.run("flag", "explain", "checkout", "--env", "prod")
    first = result.stdout.splitlines()[0]
    assert first == "checkout in prod gives no value, so the caller's own default applies: DISABLED"


def test_as_json_it_is_what_the_node_says(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", EXPLAIN, answer(FOUND))
    result = cluster.run("flag", "explain", "checkout", "--env", "prod", "--json")
    assert json.loads(result.stdout) == FOUND


def test_the_context_is_put_together(cluster: FakeCluster, tmp_path: Path) -> None:
    node = cluster["eu-1"].on("POST", EXPLAIN, answer(FOUND))
    ask = ("flag", "explain", "checkout", "--env", "prod")
    file = tmp_path / "context.json"
    file.write_text('{"account": {"id": "17"}}')
    for arguments, context in (
        ((), {}),
        (("targetingKey=u1", "email=ann@x.example", "age=7", "beta=true"),
         {"targetingKey": "u1", "email": "ann@x.example", "age": 7, "beta": True}),
        (("--context", '{"a": 1, "b": 2}', "b=3"), {"a": 1, "b": 3}),
        (("--context", f"@{file}"), {"account": {"id": "17"}}),
    ):  # fmt: skip
        assert cluster.run(*ask, *arguments).exit_code == 0
        request = node.requests[-1]
        assert body(request) == {"context": context}
        assert dict(request.url.params) == {"environment": "prod"}
        assert "Idempotency-Key" not in request.headers, "nothing is written"


@pytest.mark.parametrize(
    "arguments",
    [
        ("targetingKey",),
        ("=u1",),
        ("--context", "{"),
        ("--context", "[]"),
        ("--context", "@no-such-file"),
        ("--context", "[" * 100_000),
    ],
)
def test_what_is_no_context_is_a_mistake(cluster: FakeCluster, arguments: tuple[str, ...]) -> None:
    result = cluster.run("flag", "explain", "checkout", "--env", "prod", *arguments)
    assert result.exit_code == 2
    assert cluster["eu-1"].requests == []


def test_a_file_that_is_too_large_is_not_read_to_its_end(cluster: FakeCluster, tmp_path: Path) -> None:
    file = tmp_path / "context.json"
    file.write_text(json.dumps({"a": "x" * 70_000}))
    assert cluster.run("flag", "explain", "checkout", "--env", "prod", "--context", f"@{file}").exit_code == 2


def test_a_refusal_is_told(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", EXPLAIN, problem(404, "flag.not_found"))
    assert cluster.run("flag", "explain", "checkout", "--env", "prod").exit_code == 1


def test_another_node_is_asked_where_the_first_is_down(pair: FakeCluster) -> None:
    pair["eu-1"].down = True
    pair["us-1"].on("POST", EXPLAIN, answer(FOUND))
    assert pair.run("flag", "explain", "checkout", "--env", "prod").exit_code == 0
