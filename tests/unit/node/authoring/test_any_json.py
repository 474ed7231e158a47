"""Whatever somebody sends: an intent or an ApiError, never another exception; and what is accepted is sound."""

from __future__ import annotations

import copy
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.node.authoring.nodes import BOOLEAN, Node
from vexil.node.authoring import (
    FlagdImport,
    Intent,
    change_members,
    change_set,
    create_flag,
    delete_flag,
    patch_flag,
    patch_segment,
    put_flagd_part,
    put_project,
    put_segment,
    resolve_conflict,
)
from vexil.node.errors import ApiError

# Members, names and values that mean something somewhere.
SPOKEN = """
f g s key type description owner tags client_visible archived variants environments prerequisites needs_review prod dev
enabled kill default off_variant rules targeting metadata id if serve split by flag variant on off boolean float object
op segment environment if_match create patch delete put_rule rule before value operations members add remove member
add_member move_rule choose evaluators bucketing flags state ENABLED defaultVariant $evaluators * r1
"""
WORDS = [*SPOKEN.split(), "", "\ud800"]
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(st.characters(), max_size=5)
    | st.sampled_from([1 << 63, -(1 << 70), float("inf")])
)
JSON = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(st.characters(), max_size=3), inner, max_size=5)
    ),
    max_leaves=25,
)

VALID_FLAG = {
    **BOOLEAN,
    "key": "g",
    "description": "d",
    "tags": ["a"],
    "variants": {"on": True, "off": False},
    "environments": {
        "prod": {
            "enabled": True,
            "kill": True,
            "default": "on",
            "off_variant": "off",
            "rules": [{"id": "r1", "if": {"var": "x"}, "split": [["on", 1], ["off", 2]], "by": {"var": "y"}}],
            "metadata": {"m": 1},
        },
        "dev": {"targeting": {"if": [True, "on"]}},
    },
    "prerequisites": [{"flag": "f", "variant": "on"}],
}
VALID_CHANGE = {
    "message": "m",
    "operations": [
        {"op": "create", "flag": "g", "value": VALID_FLAG},
        {
            "op": "put_rule",
            "flag": "f",
            "environment": "prod",
            "rule": {"id": "z", "if": 1, "serve": "on"},
            "before": "r1",
        },
        {"op": "move_rule", "flag": "f", "environment": "prod", "id": "r1", "before": None, "if_match": "*"},
        {"op": "unkill", "flag": "f", "environment": "prod", "if_match": "*"},
        {"op": "add_member", "segment": "s", "member": "x"},
        {"op": "put_rule", "segment": "s", "rule": {"if": True}},
    ],
}
VALID_FLAGD = {
    "flags": {
        "f": {
            "state": "ENABLED",
            "variants": {"on": True},
            "defaultVariant": "on",
            "targeting": {"if": [1, "on"]},
            "metadata": {"m": 1},
        },
        "h": {"state": "DISABLED", "variants": {"a": 1, "b": 2.5}, "defaultVariant": None},
    },
    "$evaluators": {"e": {"var": "x"}},
    "metadata": {"team": "a"},
}


def places(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, item in items for place in places(item, (*path, step)))]


@st.composite
def nearly(draw: st.DrawFn, valid: object) -> object:
    """``valid`` with something else in one or two of its places: what gets past the first checks."""
    body = {"body": copy.deepcopy(valid)}
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(places(body["body"])))
        target: object = body
        steps = ("body", *path)
        for step in steps[:-1]:
            target = target[step]  # type: ignore[index]
        target[steps[-1]] = draw(JSON)  # type: ignore[index]
    return body["body"]


def populated() -> Node:
    node = Node()
    node.create({**VALID_FLAG, "key": "f", "prerequisites": []})
    node.put_segment({"members": ["a"], "rules": [{"id": "r1", "if": True}]})
    far = Node(2)
    far.pull(node)
    node.patch({"description": "mine"})
    far.patch({"description": "theirs"})
    node.pull(far)
    return node


NODE = populated()


def accepted(decide: Callable[[], Intent]) -> None:
    """Whatever is decided can be written, and leaves nothing to complain about but what was there before."""
    refusal = None
    intent = Intent()
    try:
        intent = decide()
    except ApiError as error:
        refusal = error
    if refusal is not None:
        assert 400 <= refusal.status < 500
        assert refusal.to_problem()["definite"] is True
        return
    node = Node(3)
    node.pull(NODE)
    node.hlc = NODE.hlc
    before = {record.field for record in node.conflicts()}
    node.take(intent)
    assert {record.field for record in node.conflicts()} <= before


@settings(max_examples=150, deadline=None)
@given(body=JSON | nearly(VALID_FLAG))
def test_any_flag(body: object) -> None:
    accepted(lambda: create_flag(NODE, body, new_id=NODE.new_id))
    accepted(lambda: patch_flag(NODE, "f", body, new_id=NODE.new_id))
    accepted(lambda: patch_flag(NODE, "f", body, new_id=NODE.new_id, if_match=NODE.etag()))


@settings(max_examples=150, deadline=None)
@given(body=JSON | nearly(VALID_CHANGE))
def test_any_change_set(body: object) -> None:
    accepted(lambda: change_set(NODE, body, new_id=NODE.new_id).intent)


@settings(max_examples=100, deadline=None)
@given(body=JSON | nearly({"description": "d", "members": ["a", "b"], "rules": [{"id": "r1", "if": True}]}))
def test_any_segment(body: object) -> None:
    accepted(lambda: put_segment(NODE, "s", body, new_id=NODE.new_id))
    accepted(lambda: put_segment(NODE, "t", body, new_id=NODE.new_id))
    accepted(lambda: patch_segment(NODE, "s", body, new_id=NODE.new_id))
    accepted(lambda: change_members(NODE, "s", body))


@settings(max_examples=100, deadline=None)
@given(
    body=JSON
    | nearly({"environments": ["dev"], "bucketing": "v3"})
    | nearly({"evaluators": {}, "metadata": {"a": 1}})
)
def test_any_setting(body: object) -> None:
    accepted(lambda: put_project(NODE, "shop", body))
    accepted(lambda: put_flagd_part(NODE, "prod", body))


@settings(max_examples=100, deadline=None)
@given(body=JSON | nearly({"choose": NODE.conflicts()[0].siblings[0].change}) | nearly({"value": "x"}))
def test_any_answer(body: object) -> None:
    accepted(lambda: resolve_conflict(NODE, NODE.conflicts()[0].id, body))


@settings(max_examples=100, deadline=None)
@given(
    header=st.text(st.characters(), max_size=40) | st.binary(max_size=40).map(lambda b: '"' + b.hex() + '"')
)
def test_any_condition(header: str) -> None:
    accepted(lambda: delete_flag(NODE, "f", if_match=header))


@settings(max_examples=100, deadline=None)
@given(document=JSON | nearly(VALID_FLAGD), mode=st.sampled_from(["merge", "replace", "x"]))
def test_any_flagd_document(document: object, mode: str) -> None:
    try:
        run = FlagdImport(NODE, document, environment="prod", mode=mode)
        changes = list(run.changes(NODE))
    except ApiError:
        return
    for change in changes:
        accepted(lambda change=change: change.decide(NODE))  # type: ignore[misc]
