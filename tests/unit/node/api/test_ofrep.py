"""OFREP over HTTP: what stock clients and browsers meet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.node.api.nodes import Served, serving

FLAGS = "/api/v1/projects/shop/flags"
EVALUATE = "/ofrep/v1/evaluate/flags"
ON: dict[str, Any] = {"environments": {"prod": {"enabled": True, "default": "on"}}}


async def with_flags(node: Served) -> None:
    staff = {"if": {"ends_with": [{"var": "email"}, "@x.com"]}, "serve": "off"}
    await node.flag("open", client_visible=True, **ON)
    await node.flag("inner", environments={"prod": {"enabled": True, "default": "on", "rules": [staff]}})
    await node.flag("off", client_visible=True)
    await node.owner.post(
        FLAGS,
        {
            "key": "rate",
            "type": "float",
            "variants": {"low": 10, "high": 0.5},
            "environments": {"prod": {"enabled": True, "default": "low"}},
        },
    )


async def test_one_flag_is_evaluated(autojump_clock: object) -> None:
    async with serving() as node:
        await with_flags(node)
        found = await node.server.post(f"{EVALUATE}/inner", {"context": {"email": "a@x.com"}})
        assert found.status == 200
        assert found.json == {"key": "inner", "value": False, "variant": "off", "reason": "TARGETING_MATCH"}
        default = await node.server.post(f"{EVALUATE}/inner", {"context": {}})
        assert default.json["value"] is True
        rate = await node.server.post(f"{EVALUATE}/rate")
        assert b"10.0" in rate.data
        off = await node.server.post(f"{EVALUATE}/off", {"context": {}})
        assert (off.status, off.json["reason"], off.json["variant"]) == (200, "DISABLED", "")
        assert "value" not in off.json


@pytest.mark.parametrize("key", ["nowhere", "a/b", "a%2Fb", "x/", "a%20b", "\u00e9", "%00", "x" * 500])
async def test_an_unknown_key_is_an_ofrep_answer_whatever_is_in_it(autojump_clock: object, key: str) -> None:
    async with serving() as node:
        found = await node.server.post(f"{EVALUATE}/{key}", {})
        assert found.status == 404
        assert found.json["errorCode"] == "FLAG_NOT_FOUND"
        assert found.json["key"]
        assert found.json["errorDetails"]


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'"x"',
        b'{"context": []}',
        b'{"context": NaN}',
        b"\xff",
        b"[" * 10_000,
        json.dumps({"context": {"a": "x" * 70_000}}).encode(),
        json.dumps({"context": {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}}).encode(),
    ],
)
async def test_a_context_that_is_none_is_an_ofrep_answer(autojump_clock: object, raw: bytes) -> None:
    async with serving() as node:
        await with_flags(node)
        one = await node.server.post(f"{EVALUATE}/open", raw=raw)
        assert (one.status, one.json["errorCode"], one.json["key"]) == (400, "INVALID_CONTEXT", "open")
        every = await node.server.post(EVALUATE, raw=raw)
        assert (every.status, every.json["errorCode"]) == (400, "INVALID_CONTEXT")
        assert "key" not in every.json


async def test_all_flags_are_evaluated_with_an_etag(autojump_clock: object) -> None:
    async with serving() as node:
        await with_flags(node)
        first = await node.server.post(EVALUATE, {"context": {"email": "a@x.com"}})
        assert [flag["key"] for flag in first.json["flags"]] == ["inner", "off", "open", "rate"]
        tag = first.headers["ETag"]
        for sent in (tag, f"W/{tag}", f'"x", {tag}', "*", tag.strip('"')):
            same = await node.server.post(
                EVALUATE, {"context": {"email": "a@x.com"}}, headers={"If-None-Match": sent}
            )
            assert (same.status, same.data, same.headers["ETag"]) == (304, b"", tag)
        other_context = await node.server.post(EVALUATE, {}, headers={"If-None-Match": tag})
        assert other_context.status == 200
        announced = await node.server.post(
            f"{EVALUATE}?flagConfigEtag=x", {"context": {"email": "a@x.com"}}, headers={"If-None-Match": tag}
        )
        assert announced.status == 200
        await node.owner.delete(f"{FLAGS}/inner")
        changed = await node.server.post(
            EVALUATE, {"context": {"email": "a@x.com"}}, headers={"If-None-Match": tag}
        )
        assert changed.status == 200


async def test_a_client_key_sees_only_what_is_meant_for_clients(autojump_clock: object) -> None:
    async with serving() as node:
        await with_flags(node)
        every = await node.client.post(EVALUATE, {})
        assert [flag["key"] for flag in every.json["flags"]] == ["off", "open"]
        assert (await node.client.post(f"{EVALUATE}/open", {})).status == 200
        hidden = await node.client.post(f"{EVALUATE}/inner", {})
        missing = await node.client.post(f"{EVALUATE}/inne", {})
        # That there is such a flag is not to be told from there being none.
        assert hidden.status == missing.status == 404
        assert hidden.json["errorDetails"].replace("inner", "inne") == missing.json["errorDetails"]
        await node.owner.patch(f"{FLAGS}/inner", {"client_visible": True})
        assert (await node.client.post(f"{EVALUATE}/inner", {})).status == 200


@pytest.mark.parametrize(
    "targeting",
    [
        {"if": [{"segment": "secret"}, "on", "secret"]},
        {"secret": [1]},
        {"if": [{"$ref": "secret"}, "on", "off"]},
        {"cat": ["secret-", {"var": "email"}]},
        {"if": [{"if": [{"in": [{"var": "email"}, "a@x.com"]}, {"secret": []}]}, "on"]},
    ],
    ids=range(5),
)
async def test_an_error_shows_no_part_of_a_rule_to_a_client_key(
    autojump_clock: object, targeting: dict[str, Any]
) -> None:
    async with serving() as node:
        settings = {"evaluators": {"secret": {"$ref": "secret"}}}
        await node.owner.put("/api/v1/projects/shop/environments/prod/flagd", settings)
        rules = {"enabled": True, "default": "off", "targeting": targeting}
        await node.flag("open", client_visible=True, environments={"prod": rules})
        asked = {"context": {"email": "a@x.com"}}
        one = await node.client.post(f"{EVALUATE}/open", asked)
        every = await node.client.post(EVALUATE, asked)
        assert one.status == 400
        assert one.json["errorDetails"] == one.json["errorCode"], "stock clients need both"
        assert every.json["flags"] == [one.json]
        assert b"secret" not in one.data + every.data
        told = await node.server.post(f"{EVALUATE}/open", asked)
        assert b"secret" in told.data, "who may have the rules is told"


async def test_whoever_selects_another_flag_set_is_refused(autojump_clock: object) -> None:
    async with serving() as node:
        await with_flags(node)
        await node.owner.put(
            "/api/v1/projects/shop/environments/prod/flagd", {"metadata": {"flagSetId": "web"}}
        )
        for path in (EVALUATE, f"{EVALUATE}/open"):
            for selector in ("", "flagSetId=web", " flagSetId = web "):
                found = await node.client.post(path, {}, headers={"Flagd-Selector": selector})
                assert found.status == 200, selector
            for selector in ("flagSetId=app", "flagSetId=", "source=web", "web", "colour=red"):
                found = await node.client.post(path, {}, headers={"Flagd-Selector": selector})
                assert (found.status, found.json["errorCode"]) == (400, "GENERAL"), selector
                assert found.json["errorDetails"]


async def test_browsers_may_ask_and_read(autojump_clock: object) -> None:
    async with serving() as node:
        await with_flags(node)
        for path in (EVALUATE, f"{EVALUATE}/open"):
            asked = await node.nobody.ask(
                "OPTIONS",
                path,
                headers={
                    "Origin": "https://shop.example",
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "authorization,content-type,if-none-match",
                },
            )
            assert asked.status == 204
            assert asked.headers["Access-Control-Allow-Origin"] == "*"
            allowed = asked.headers["Access-Control-Allow-Headers"].lower()
            assert {"authorization", "content-type", "if-none-match"} <= set(allowed.split(", "))
            for client in (node.client, node.nobody):
                answer = await client.post(path, {}, headers={"Origin": "https://shop.example"})
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
                assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
            # A server key in a browser is a leak: the page does not get to read what it brought.
            leaked = await node.server.post(path, {}, headers={"Origin": "https://shop.example"})
            assert "Access-Control-Allow-Origin" not in leaked.headers
        assert "Access-Control-Allow-Origin" not in (await node.owner.get(FLAGS)).headers


async def test_a_refusal_has_what_ofrep_clients_look_for(autojump_clock: object) -> None:
    async with serving() as node:
        for client, status in ((node.nobody, 401), (node.owner, 403)):
            one = await client.post(f"{EVALUATE}/open", {})
            assert one.status == status
            assert one.json["errorDetails"] == one.json["detail"]
            assert (one.json["errorCode"], one.json["key"]) == ("GENERAL", "open")
            every = await client.post(EVALUATE, {})
            assert (every.json["errorCode"], "key" in every.json) == ("GENERAL", False)
        large = await node.server.post(EVALUATE, raw=b" " * (3 << 20))
        assert large.status == 413
        assert large.json["errorDetails"]


async def test_only_post_evaluates(autojump_clock: object) -> None:
    async with serving() as node:
        for path in (EVALUATE, f"{EVALUATE}/open"):
            assert (await node.server.get(path)).status == 405


async def test_a_killed_flag_is_off_at_once_for_every_type(autojump_clock: object) -> None:
    values: dict[str, Any] = {"boolean": True, "string": "s", "integer": 3, "float": 0.5, "object": {"a": 1}}
    async with serving() as node:
        for kind, value in values.items():
            made = await node.owner.post(
                FLAGS,
                {
                    "key": kind,
                    "type": kind,
                    "variants": {"v": value},
                    "environments": {"prod": {"enabled": True, "default": "v"}},
                },
            )
            assert made.status == 201
            assert (await node.server.post(f"{EVALUATE}/{kind}", {})).json["value"] == value
            await node.owner.post(f"{FLAGS}/{kind}/environments/prod/kill")
            found = (await node.server.post(f"{EVALUATE}/{kind}", {})).json
            assert (found["reason"], "value" in found) == ("DISABLED", False)
            await node.owner.patch(f"{FLAGS}/{kind}", {"environments": {"prod": {"off_variant": "v"}}})
            found = (await node.server.post(f"{EVALUATE}/{kind}", {})).json
            assert (found["reason"], found["value"]) == ("DISABLED", value)


async def test_flagd_polls_a_document_with_an_etag(autojump_clock: object) -> None:
    async with serving() as node:
        await with_flags(node)
        await node.flag("odd", variants={}, environments={"prod": {"enabled": True}})
        first = await node.server.get("/flagd/v1/flags.json")
        assert first.status == 200
        assert first.headers["Content-Type"] == "application/json"
        assert set(first.json["flags"]) == {"inner", "off", "open", "rate"}
        assert first.json["flags"]["open"]["state"] == "ENABLED"
        tag = first.headers["ETag"]
        same = await node.server.get("/flagd/v1/flags.json", headers={"If-None-Match": tag})
        assert (same.status, same.data) == (304, b"")
        await node.owner.post(f"{FLAGS}/open/environments/prod/kill")
        changed = await node.server.get("/flagd/v1/flags.json", headers={"If-None-Match": tag})
        assert changed.json["flags"]["open"]["state"] == "DISABLED"


async def test_what_is_evaluated_is_counted(autojump_clock: object) -> None:
    async with serving() as node:
        await with_flags(node)
        await node.server.post(f"{EVALUATE}/open", {})
        await node.server.post(EVALUATE, {})
        text = (await node.owner.get("/metrics")).data.decode()
        assert 'vexil_evaluations_total{kind="single"} 1.0' in text
        assert 'vexil_evaluations_total{kind="bulk"} 4.0' in text
