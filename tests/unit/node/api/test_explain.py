"""Why a flag gives what it gives: the answer, the steps, and the writes that decided."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.node.api.nodes import Served, serving
from vexil.crdt.pen import CellWrite

FLAGS = "/api/v1/projects/shop/flags"
ELSEWHERE = 0x99
SPLIT = [["on", 10], ["off", 90]]
STAFF = {"ends_with": [{"var": "email"}, "@x.com"]}
RULES = [
    {"id": "staff", "description": "our own people", "if": STAFF, "serve": "on"},
    {"id": "tenth", "if": True, "split": SPLIT},
]


async def with_rules(node: Served, **members: Any) -> None:
    prod = {"enabled": True, "default": "off", "off_variant": "off", "rules": RULES, **members}
    await node.flag("f", environments={"prod": prod})


async def explain(node: Served, key: str = "f", **context: Any) -> Any:
    found = await node.owner.post(f"{FLAGS}/{key}/explain?environment=prod", {"context": context})
    assert found.status == 200, found
    asked = await node.server.post(f"/ofrep/v1/evaluate/flags/{key}", {"context": context})
    for member in ("value", "variant", "reason"):
        assert found.json.get(member) == asked.json.get(member)
    return found.json


async def written_elsewhere(node: Served, field: str, value: object) -> None:
    """Ann, at a node in us, writes a field of the flag ``f``."""
    generation = (node.engine.projects["shop"].flag("f") or pytest.fail("it was just made")).generation
    change = await node.elsewhere(
        lambda pen: pen.write(
            [CellWrite("flag/f", generation, field, value)], hlc=node.later_hlc(), author="ann"
        )
    )
    await node.arrive(change)


def fields(found: Any) -> list[str]:
    return [write["field"] for write in found["decided_by"]]


async def test_a_rule_that_holds(autojump_clock: object) -> None:
    async with serving() as node:
        await with_rules(node)
        found = await explain(node, email="a@x.com")
        assert (found["key"], found["environment"], found["value"]) == ("f", "prod", True)
        assert found["trace"] == [
            {"step": "enabled", "enabled": True, "kill": False},
            {
                "step": "rule",
                "id": "staff",
                "description": "our own people",
                "if": STAFF,
                "held": True,
                "serve": "on",
                "gave": "on",
            },
        ]
        assert fields(found) == ["env/prod/enabled", "env/prod/rule/staff", "variant/on"]
        # Only where somebody has written an order does it decide.
        await node.owner.patch(f"{FLAGS}/f", {"environments": {"prod": {"rules": RULES[::-1]}}})
        assert fields(await explain(node, targetingKey="u1"))[1:3] == [
            "env/prod/rule/tenth",
            "env/prod/order",
        ]


async def test_a_split_says_its_bucket(autojump_clock: object) -> None:
    async with serving() as node:
        await with_rules(node)
        given = set()
        for number in range(40):
            found = await explain(node, targetingKey=f"u{number}")
            missed, held = found["trace"][1:]
            assert (missed["held"], held["held"]) == (False, True)
            split = held["split"]
            assert (split["by"], split["total"]) == (f"u{number}", 100)
            assert split["entries"] == [
                {"variant": "on", "weight": 10, "from": 0, "to": 10},
                {"variant": "off", "weight": 90, "from": 10, "to": 100},
            ]
            entry = split["entries"][split["entry"]]
            assert entry["from"] <= split["bucket"] < entry["to"]
            assert entry["variant"] == held["gave"] == found["variant"]
            given.add(found["variant"])
        assert given == {"on", "off"}


async def test_nobody_to_put_into_a_bucket_falls_to_the_default(autojump_clock: object) -> None:
    async with serving() as node:
        await with_rules(node)
        found = await explain(node)
        held, default = found["trace"][-2:]
        assert (held["split"]["bucket"], held["split"]["entry"], held["gave"]) == (None, None, None)
        assert default == {"step": "default", "variant": "off"}
        assert fields(found)[-2:] == ["env/prod/default", "variant/off"]


async def test_who_wrote_what_decided_where_and_when(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("f", environments={"prod": {"enabled": True, "default": "on"}})
        await written_elsewhere(node, "env/prod/default", "off")
        before = (await explain(node))["decided_by"][1]
        assert (before["author"], before["region"], before["node"]) == ("ann", None, None)
        await node.name_incarnation(ELSEWHERE, node="us-1", region="us")
        found = await explain(node)
        assert found["value"] is False
        enabled, default, value = found["decided_by"]
        assert default == {
            "field": "env/prod/default",
            "environment": "prod",
            "value": "off",
            "change": f"{ELSEWHERE:016x}:1",
            "author": "ann",
            "region": "us",
            "node": "us-1",
            "time": default["time"],
        }
        assert (enabled["region"], enabled["node"]) == ("eu", "eu-1")
        assert enabled["author"].startswith("bootstrap")
        assert enabled["time"] < default["time"]
        assert (value["field"], value["environment"], value["value"]) == ("variant/off", None, False)


async def test_a_write_that_others_contest_is_marked(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("f", environments={"prod": {"enabled": True, "default": "on"}})
        generation = (node.engine.projects["shop"].flag("f") or pytest.fail("it was just made")).generation
        write = CellWrite("flag/f", generation, "env/prod/default", "off")
        change = await node.elsewhere(lambda pen: pen.write([write], hlc=node.later_hlc(), author="ann"))
        await node.owner.patch(f"{FLAGS}/f", {"environments": {"prod": {"default": None}}})
        assert "contested" not in (await explain(node))["decided_by"][1]
        await node.arrive(change)
        default = (await explain(node))["decided_by"][1]
        assert (default["value"], default["author"], default["contested"]) == ("off", "ann", True)


async def test_a_kill_is_told_from_a_flag_that_is_off(autojump_clock: object) -> None:
    async with serving() as node:
        await with_rules(node)
        await node.owner.post(f"{FLAGS}/f/environments/prod/kill")
        killed = await explain(node, email="a@x.com")
        assert killed["trace"] == [
            {"step": "enabled", "enabled": True, "kill": True},
            {"step": "off_variant", "variant": "off"},
        ]
        assert fields(killed) == ["kill/prod", "env/prod/off_variant", "variant/off"]
        assert killed["decided_by"][0]["value"] is True
        await node.flag("never")
        off = await explain(node, "never")
        assert off["trace"][0] == {"step": "enabled", "enabled": False, "kill": False}
        assert fields(off) == ["env/prod/enabled", "env/prod/off_variant"]
        assert off["decided_by"][0]["author"] is None, "nobody has ever switched it on"
        assert "value" not in off


async def test_a_prerequisite_that_is_not_met(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("base", environments={"prod": {"enabled": True, "default": "off"}})
        await node.flag(
            "f",
            environments={"prod": {"enabled": True, "default": "on", "off_variant": "off"}},
            prerequisites=[{"flag": "base", "variant": "on"}],
        )
        found = await explain(node)
        assert found["trace"][1] == {
            "step": "prerequisite",
            "flag": "base",
            "variant": "on",
            "gave": "off",
            "met": False,
        }
        assert found["trace"][2] == {"step": "off_variant", "variant": "off"}
        assert "prerequisite/base" in fields(found)


async def test_a_rule_that_cannot_serve_is_named(autojump_clock: object) -> None:
    async with serving() as node:
        await with_rules(node)
        await written_elsewhere(node, "env/prod/rule/staff", {"if": True, "serve": "gone"})
        found = await explain(node, email="a@x.com", targetingKey="u1")
        skipped, held = found["trace"][1:]
        assert (skipped["id"], skipped["held"], skipped["defect"]) == ("staff", None, "dangling-variant")
        assert held["id"] == "tenth"


async def test_a_flag_that_fails_says_where(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("f", environments={"prod": {"enabled": True, "default": "on"}})
        await written_elsewhere(node, "env/prod/rule/bad", {"if": {"no_such_operator": []}, "serve": "on"})
        asked = await node.owner.post(f"{FLAGS}/f/explain?environment=prod", {"context": {}})
        rule, error = asked.json["trace"][1:]
        assert (rule["id"], rule["held"]) == ("bad", None)
        assert asked.json["error"] == {"code": error["code"], "details": error["details"]}
        assert (error["step"], error["code"], asked.json["reason"]) == ("error", "PARSE_ERROR", "ERROR")


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"context": null}'])
async def test_no_context_is_an_empty_one(autojump_clock: object, raw: bytes) -> None:
    async with serving() as node:
        await with_rules(node)
        found = await node.owner.post(f"{FLAGS}/f/explain?environment=prod", raw=raw)
        assert (found.status, found.json["variant"]) == (200, "off")


@pytest.mark.parametrize(
    ("path", "raw", "refusal"),
    [
        ("f/explain", b"{}", (400, "request.malformed")),
        ("f/explain?environment=", b"{}", (400, "request.malformed")),
        ("f/explain?environment=gone", b"{}", (404, "environment.not_found")),
        ("gone/explain?environment=prod", b"{}", (404, "flag.not_found")),
        ("f/explain?environment=prod&x=1", b"{}", (400, "request.malformed")),
        ("f/explain?environment=prod", b"{", (400, "request.malformed")),
        ("f/explain?environment=prod", b'{"context": []}', (400, "request.malformed")),
    ],
)
async def test_what_cannot_be_explained(
    autojump_clock: object, path: str, raw: bytes, refusal: tuple[int, str]
) -> None:
    async with serving() as node:
        await with_rules(node)
        found = await node.owner.post(f"{FLAGS}/{path}", raw=raw)
        assert (found.status, found.code) == refusal


async def test_a_viewer_may_ask_and_a_server_key_may_not(autojump_clock: object) -> None:
    async with serving() as node:
        await with_rules(node)
        viewer = await node.make_key(kind="admin", role="viewer", project="shop")
        path = f"{FLAGS}/f/explain?environment=prod"
        before = node.root_hashes()
        assert (await viewer.post(path, {})).status == 200
        assert (await node.server.post(path, {})).status == 403
        assert (await node.nobody.post(path, {})).status == 401
        assert node.root_hashes() == before
