"""Whatever JSON is sent to whatever route: never a failure, and what is refused has changed nothing."""

from __future__ import annotations

import json
from typing import Any

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.unit.node.api.nodes import serving

SHOP = "/api/v1/projects/shop"
FLAGS = f"{SHOP}/flags"

# Names that mean something somewhere, so that what is sent gets past the first look.
WORDS = st.sampled_from(
    [
        "key",
        "type",
        "value",
        "variants",
        "environments",
        "prod",
        "dev",
        "enabled",
        "kill",
        "default",
        "off_variant",
        "rules",
        "targeting",
        "metadata",
        "id",
        "description",
        "if",
        "serve",
        "split",
        "by",
        "var",
        "on",
        "off",
        "owner",
        "tags",
        "client_visible",
        "archived",
        "prerequisites",
        "flag",
        "variant",
        "members",
        "add",
        "remove",
        "operations",
        "op",
        "create",
        "patch",
        "delete",
        "put_rule",
        "move_rule",
        "add_tag",
        "tag",
        "segment",
        "environment",
        "rule",
        "before",
        "if_match",
        "message",
        "choose",
        "evaluators",
        "flags",
        "state",
        "defaultVariant",
        "$evaluators",
        "$ref",
        "boolean",
        "string",
        "integer",
        "float",
        "object",
        "a",
        "s",
        "ENABLED",
        "kind",
        "role",
        "project",
        "name",
        "admin",
        "server",
        "viewer",
        "context",
        "targetingKey",
        "bucketing",
        "v3",
        "cut",
        "ok",
        "eu",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)
BODIES = st.dictionaries(WORDS, VALUES, max_size=6) | VALUES
ROUTES = st.sampled_from(
    [
        ("POST", FLAGS),
        ("PATCH", f"{FLAGS}/a"),
        ("DELETE", f"{FLAGS}/a"),
        ("POST", f"{FLAGS}/a/environments/prod/kill"),
        ("POST", f"{FLAGS}/a/environments/prod/unkill"),
        ("PUT", f"{SHOP}/segments/s"),
        ("PATCH", f"{SHOP}/segments/s"),
        ("POST", f"{SHOP}/segments/s/members"),
        ("POST", f"{SHOP}/changes"),
        ("POST", f"{SHOP}/conflicts/0123456789abcdef/resolve"),
        ("POST", f"{SHOP}/import?environment=prod"),
        ("POST", f"{SHOP}/import?environment=prod&mode=replace&dry_run=true"),
        ("PUT", f"{SHOP}/environments/prod/flagd"),
        ("PUT", SHOP),
        ("PUT", "/api/v1/projects/bank"),
        ("POST", "/api/v1/keys"),
        ("POST", "/api/v1/dev/links"),
        ("POST", "/ofrep/v1/evaluate/flags/a"),
        ("POST", "/ofrep/v1/evaluate/flags"),
    ]
)
OPERATIONS = st.fixed_dictionaries(
    {"op": WORDS},
    optional={
        "flag": WORDS,
        "segment": WORDS,
        "environment": WORDS,
        "value": VALUES,
        "patch": VALUES,
        "rule": VALUES,
        "id": SCALARS,
        "before": SCALARS,
        "tag": SCALARS,
        "member": SCALARS,
        "if_match": SCALARS,
    },
)
HEADERS = st.dictionaries(
    st.sampled_from(["If-Match", "Idempotency-Key", "Vexil-Change", "Vexil-Durability", "Vexil-Token"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    max_size=1,
)


async def ask_all(asks: list[tuple[str, str, Any, dict[str, str]]]) -> None:
    """Ask all of them of one node, and look at each answer and at what it has done."""
    async with serving(dev=True) as node:
        await node.flag("a")
        await node.owner.put(f"{SHOP}/segments/s", {"members": ["u1"]})
        for method, path, body, headers in asks:
            client = node.server if path.startswith("/ofrep") else node.owner
            before = node.root_hashes()
            answer = await client.ask(method, path, raw=json.dumps(body).encode(), headers=headers)
            asked = (method, path, body, headers, answer)
            # The two that a header may ask for: a durability that is not to be had, a change that is not here.
            expected = answer.status < 500 or answer.code in {"durability.unavailable", "write.indeterminate"}
            assert expected, asked
            if answer.status >= 300:
                assert node.root_hashes() == before, asked
            elif answer.status != 204:
                assert isinstance(answer.json, dict), asked


SEARCH = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SEARCH
@given(st.lists(st.tuples(ROUTES, BODIES, HEADERS), min_size=1, max_size=25))
def test_any_json_at_any_route(asks: list[tuple[tuple[str, str], Any, dict[str, str]]]) -> None:
    calls = [(method, path, body, headers) for (method, path), body, headers in asks]
    trio.run(ask_all, calls, clock=MockClock(autojump_threshold=0))


@SEARCH
@given(st.lists(st.lists(OPERATIONS, max_size=4), min_size=1, max_size=25))
def test_any_operations_in_a_change_set(sets: list[list[dict[str, Any]]]) -> None:
    calls: list[tuple[str, str, Any, dict[str, str]]] = [
        ("POST", f"{SHOP}/changes", {"operations": operations}, {}) for operations in sets
    ]
    trio.run(ask_all, calls, clock=MockClock(autojump_threshold=0))


FLAGD_FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(["ENABLED", "DISABLED"]) | SCALARS,
        "variants": st.dictionaries(WORDS, SCALARS, max_size=3) | SCALARS,
        "defaultVariant": WORDS | SCALARS,
        "targeting": VALUES,
        "metadata": VALUES,
    },
)


@SEARCH
@given(
    st.lists(
        st.dictionaries(WORDS | st.text(max_size=5), FLAGD_FLAGS | VALUES, max_size=4),
        min_size=1,
        max_size=15,
    ),
    st.sampled_from(["merge", "replace"]),
)
def test_any_flags_in_an_import(documents: list[dict[str, Any]], mode: str) -> None:
    path = f"{SHOP}/import?environment=prod&mode={mode}"
    calls: list[tuple[str, str, Any, dict[str, str]]] = [
        ("POST", path, {"flags": flags}, {}) for flags in documents
    ]
    trio.run(ask_all, calls, clock=MockClock(autojump_threshold=0))
