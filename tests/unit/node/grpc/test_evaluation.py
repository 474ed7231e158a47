"""Flags evaluated for gRPC clients: types, absent values, contexts, errors, all of them at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.node.api.nodes import Served, serving
from tests.unit.node.grpc.caller import Stream, call
from vexil.node.grpc.proto import evaluation_pb2 as pb
from vexil.node.grpc.services import port_app
from vexil.node.grpc.statuses import Code
from vexil.node.grpc.structs import to_plain, to_struct

V1 = "/flagd.evaluation.v1.Service/"
V2 = "/flagd.evaluation.v2.Service/"
TYPES = ("Boolean", "String", "Float", "Int", "Object")
ON = {"prod": {"enabled": True, "default": "v"}}
FLAGS = {
    "boolean": (True, ("Boolean",)),
    "string": ("text", ("String",)),
    "integer": (7, ("Int", "Float")),
    "large": (2**62, ("Int",)),
    "float": (0.5, ("Float",)),
    "whole": (4.0, ("Float", "Int")),
    "far": (1e300, ("Float",)),
    "object": ({"a": [1, None, {"b": 2.5}]}, ("Object",)),
    "empty": ({}, ("Object",)),
}
TYPE_OF = {"large": "integer", "whole": "float", "far": "float", "empty": "object"}


async def ask(
    served: Served, key: str, kind: str, context: dict[str, Any] | None = None, *, base: str = V2
) -> Stream:
    app = port_app(served.app.services, project="shop", environment="prod")
    request = getattr(pb, f"Resolve{kind}Request")(flag_key=key, context=to_struct(context or {}))
    return await call(app, f"{base}Resolve{kind}", request)


def answer(stream: Stream, kind: str) -> Any:
    assert stream.code == Code.OK, stream.text
    return getattr(pb, f"Resolve{kind}Response").FromString(stream.rest[5:])


def value_of(message: Any) -> Any:
    value = message.value
    return to_plain(value) if isinstance(value, type(to_struct({}))) else value


async def test_each_type_is_given_as_itself_and_converted_only_without_loss(autojump_clock: Any) -> None:
    async with serving() as served:
        for key, (value, _) in FLAGS.items():
            await served.flag(key, type=TYPE_OF.get(key, key), variants={"v": value}, environments=ON)
        for base in (V1, V2):
            for key, (value, fitting) in FLAGS.items():
                for kind in TYPES:
                    found = await ask(served, key, kind, base=base)
                    if kind in fitting:
                        assert value_of(answer(found, kind)) == value
                        assert answer(found, kind).HasField("value")
                    else:
                        assert found.code == Code.INVALID_ARGUMENT, (key, kind)
                        assert f"is no {kind.lower()}" in found.text


async def test_no_value_is_said_in_v2_and_not_found_in_v1(autojump_clock: Any) -> None:
    async with serving() as served:
        await served.flag("off")
        await served.flag("none", environments={"prod": {"enabled": True}})
        for key, reason in (("off", "DISABLED"), ("none", "DEFAULT")):
            found = answer(await ask(served, key, "Boolean"), "Boolean")
            assert (found.HasField("value"), found.HasField("variant"), found.reason) == (
                False,
                False,
                reason,
            )
            assert (await ask(served, key, "Boolean", base=V1)).code == Code.NOT_FOUND


@pytest.mark.parametrize("number", [5, -5, 0, 2**53 - 1, 2.5, 1e300, -(2.0**60)])
def test_a_number_comes_out_as_json_would_have_it(number: float) -> None:
    found = to_plain(to_struct({"a": [{"b": number}]}))["a"][0]["b"]
    assert (found, type(found)) == (number, type(number))


async def test_rules_see_the_context(autojump_clock: Any) -> None:
    rule = {"if": [{"==": [{"cat": ["n", {"var": "level"}]}, "n5"]}, "on", None]}
    async with serving() as served:
        await served.flag("f", environments={"prod": {"enabled": True, "default": "off", "targeting": rule}})
        part = {"evaluators": {}, "metadata": {"team": "a"}}
        await served.owner.put("/api/v1/projects/shop/environments/prod/flagd", part)
        found = answer(await ask(served, "f", "Boolean", {"level": 5, "other": [{"x": None}]}), "Boolean")
        assert (found.value, found.variant, found.reason) == (True, "on", "TARGETING_MATCH")
        assert to_plain(found.metadata) == {"team": "a"}
        assert answer(await ask(served, "f", "Boolean", {"level": 5.5}), "Boolean").value is False


async def test_a_flag_that_asks_for_others_is_not_to_be_kept_by_clients(autojump_clock: Any) -> None:
    async with serving() as served:
        await served.flag("base", environments={"prod": {"enabled": True, "default": "on"}})
        asks = [{"flag": "base", "variant": "on"}]
        on = {"prod": {"enabled": True, "default": "on"}}
        await served.flag("above", environments=on, prerequisites=asks)
        assert answer(await ask(served, "base", "Boolean"), "Boolean").reason == "STATIC"
        assert answer(await ask(served, "above", "Boolean"), "Boolean").reason == "DEFAULT"


async def test_errors_have_flagds_codes_and_are_not_asked_again(autojump_clock: Any) -> None:
    targeting = {"parse": {"no_such_operator": []}, "general": "no-such-variant"}
    async with serving() as served:
        await served.flag("parse", environments={"prod": {"enabled": True, "targeting": targeting["parse"]}})
        await served.flag(
            "general",
            environments={"prod": {"enabled": True, "targeting": {"if": [True, targeting["general"]]}}},
        )
        for key, code in (("missing", Code.NOT_FOUND), ("parse", Code.DATA_LOSS), ("general", Code.UNKNOWN)):
            found = await ask(served, key, "Boolean")
            assert (found.code, found.trailers["grpc-retry-pushback-ms"]) == (code, "-1")
            assert found.rest == b""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x" * 2_000_000])
async def test_a_context_that_is_no_json_or_too_large_is_refused(autojump_clock: Any, value: object) -> None:
    async with serving() as served:
        assert (await ask(served, "f", "Boolean", {"x": value})).code == Code.INVALID_ARGUMENT


async def test_all_flags_with_a_value_are_given_at_once(autojump_clock: Any) -> None:
    async with serving() as served:
        for key, (value, _) in FLAGS.items():
            await served.flag(key, type=TYPE_OF.get(key, key), variants={"v": value}, environments=ON)
        await served.flag("off")
        app = port_app(served.app.services, project="shop", environment="prod")
        found = await call(app, V1 + "ResolveAll", pb.ResolveAllRequest())
        response = pb.ResolveAllResponse.FromString(found.rest[5:])
        assert set(response.flags) == set(FLAGS)
        for key, flag in response.flags.items():
            kind = flag.WhichOneof("value")
            value = getattr(flag, kind)
            assert (to_plain(value) if kind == "object_value" else value) == FLAGS[key][0]
            assert flag.variant == "v"


@pytest.mark.parametrize(
    ("selector", "code"),
    [
        ("", Code.OK),
        ("flagSetId=shop-live", Code.OK),
        (" flagSetId = shop-live ", Code.OK),
        ("flagSetId=", Code.INVALID_ARGUMENT),
        ("flagSetId=other", Code.INVALID_ARGUMENT),
        ("source=shop-live", Code.INVALID_ARGUMENT),
        ("shop-live", Code.INVALID_ARGUMENT),
    ],
)
async def test_a_selector_must_ask_for_the_set_that_is_here(
    autojump_clock: Any, selector: str, code: Code
) -> None:
    async with serving() as served:
        await served.flag("f", environments={"prod": {"enabled": True, "default": "on"}})
        part = {"evaluators": {}, "metadata": {"flagSetId": "shop-live"}}
        assert (await served.owner.put("/api/v1/projects/shop/environments/prod/flagd", part)).status == 200
        app = port_app(served.app.services, project="shop", environment="prod")
        request = pb.ResolveBooleanRequest(flag_key="f")
        found = await call(app, V2 + "ResolveBoolean", request, headers={"flagd-selector": selector})
        assert found.code == code
