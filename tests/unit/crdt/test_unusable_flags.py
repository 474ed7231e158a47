"""Flags that merging, a newer version or a broken writer left in a state nobody meant: each has a safe value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.crdt.authors import ENVIRONMENTS, Author, packed
from vexil.crdt import limits
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.materialise import FlagState, describe, document, read_flag
from vexil.crdt.payload import encode, tombstone

GENERATION = (5, 1)
JUNK = b"\xc1"
VARIANTS: dict[str, dict[str, Any]] = {
    "boolean": {"on": True, "off": False},
    "string": {"on": "x", "off": ""},
    "integer": {"on": 1, "off": 0},
    "float": {"on": 1.5, "off": 0.0},
    "object": {"on": {"a": [1, None]}, "off": {}},
}


def cells(kind: Any = "boolean", **values: Any) -> dict[tuple[int, int], dict[str, bytes]]:
    """A flag that serves `on` in prod, with `off` as its off variant; bytes are taken as payloads."""
    written = {
        "exists": {"epoch": 1, "created": 1, "type": kind},
        "env/prod/enabled": True,
        "env/prod/default": "on",
        "env/prod/off_variant": "off",
        **{f"variant/{name}": value for name, value in VARIANTS.get(kind, {}).items()},
        **{field.replace("__", "/"): value for field, value in values.items()},
    }
    return {
        GENERATION: {
            field: packed((5, 9, value if isinstance(value, bytes) else encode("ann", value)))
            for field, value in written.items()
        }
    }


def read(found: dict[tuple[int, int], dict[str, bytes]]) -> FlagState:
    state = read_flag("f", found, ENVIRONMENTS)
    assert state is not None
    json.dumps(describe(state), allow_nan=False)
    return state


def problems(state: FlagState) -> list[tuple[str, str]]:
    return [(found.kind, found.field) for found in state.problems]


def nested(levels: int) -> object:
    value: object = True
    for _ in range(levels):
        value = {"!": [value]}
    return value


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_off_path_of_every_type(kind: str) -> None:
    on = read(cells(kind))
    assert problems(on) == []
    assert document(on, "prod")["enabled"] is True
    disabled = document(read(cells(kind, env__prod__enabled=False)), "prod")
    killed = document(
        read(cells(kind) | {NO_GENERATION: {"kill/prod": packed((5, 9, encode("ann", True)))}}), "prod"
    )
    over = document(read(cells(kind, description="x" * limits.FLAG_BYTES_MAX)), "prod")
    for off in (disabled, killed, over):
        assert off["off_variant"] == "off"
        assert json.dumps(off["variants"]["off"]) == json.dumps(VARIANTS[kind]["off"])
    assert disabled["enabled"] is killed["enabled"] is False
    assert over["broken"] == "limit.flag_bytes"
    nothing = document(read(cells(kind, env__prod__enabled=False, env__prod__off_variant=None)), "prod")
    assert nothing["enabled"] is False
    assert nothing["off_variant"] is None


@pytest.mark.parametrize("kind", VARIANTS)
def test_an_environment_without_cells_is_off_and_without_a_value(kind: str) -> None:
    dev = document(read(cells(kind)), "dev")
    assert (dev["enabled"], dev["default"], dev["off_variant"], dev["rules"]) == (False, None, None, [])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", 1),
        ("boolean", "true"),
        ("string", True),
        ("string", None),
        ("integer", True),
        ("integer", 1.0),
        ("float", True),
        ("float", float("nan")),
        ("float", float("inf")),
        ("float", "1"),
        ("object", [1]),
        ("object", {"a": float("nan")}),
        ("object", {"a": b"bytes"}),
        ("object", {b"a": 1}),
    ],
)
def test_a_variant_of_the_wrong_type_is_not_there(kind: str, value: object) -> None:
    state = read(cells(kind, variant__on=value))
    assert ("invalid", "variant/on") in problems(state)
    assert document(state, "prod")["variants"].keys() == {"off"}
    assert document(state, "prod")["default"] == "off"


def test_a_whole_number_is_a_float() -> None:
    state = read(cells("float", variant__on=10))
    assert json.dumps(document(state, "prod")["variants"]["on"]) == "10.0"


def test_an_object_that_is_too_deep_is_not_there() -> None:
    deep: object = {}
    for _ in range(limits.VALUE_DEPTH_MAX - 1):
        deep = {"a": deep}
    assert problems(read(cells("object", variant__on=deep))) == []
    state = read(cells("object", variant__on={"a": deep}))
    assert ("limit.value_depth", "variant/on") in problems(state)


@pytest.mark.parametrize("default", ["gone", 7, ["on"], JUNK, {}])
def test_a_default_that_is_not_there_gives_way_to_the_off_variant(default: object) -> None:
    state = read(cells(env__prod__default=default))
    served = document(state, "prod")
    assert served["default"] == ("off" if default == "gone" else None)
    kind = "dangling-variant" if default == "gone" else "unreadable" if default == JUNK else "invalid"
    assert problems(state) == [(kind, "env/prod/default")]
    assert state.problems[0].environment == "prod"
    assert state.problems[0].siblings[0].author == ("" if default == JUNK else "ann")


def test_an_off_variant_that_is_not_there_leaves_the_code_default() -> None:
    state = read(cells(env__prod__off_variant="gone", env__prod__default="gone"))
    assert document(state, "prod")["off_variant"] is None
    assert document(state, "prod")["default"] is None


BAD_RULES = [
    ("dangling-variant", {"if": True, "serve": "gone"}),
    ("dangling-variant", {"if": True, "split": [["on", 1], ["gone", 1]]}),
    ("invalid", {"serve": "on"}),
    ("invalid", {"if": True}),
    ("invalid", {"if": True, "serve": "on", "split": [["on", 1]]}),
    ("invalid", {"if": True, "serve": ["on"]}),
    ("invalid", {"if": True, "serve": None}),
    ("invalid", {"if": True, "split": []}),
    ("invalid", {"if": True, "split": {"on": 1}}),
    ("invalid", {"if": True, "split": [["on", 0]]}),
    ("invalid", {"if": True, "split": [["on", -1], ["off", 2]]}),
    ("invalid", {"if": True, "split": [["on", True]]}),
    ("invalid", {"if": True, "split": [["on", 1.5]]}),
    ("invalid", {"if": True, "split": [["on"]]}),
    ("invalid", {"if": True, "split": [["on", limits.SPLIT_WEIGHT_SUM_MAX], ["off", 1]]}),
    ("invalid", {"if": {"var": b"x"}, "serve": "on"}),
    ("invalid", {"if": float("inf"), "serve": "on"}),
    ("invalid", {"if": True, "serve": "on", "description": 7}),
    ("invalid", "on"),
    ("invalid", None),
    ("invalid", []),
    ("unreadable", JUNK),
    ("limit.logic_depth", {"if": nested(limits.LOGIC_DEPTH_MAX + 1), "serve": "on"}),
    ("limit.logic_depth", {"if": nested(200), "serve": "on"}),
    ("limit.logic_depth", b"\x92\xa0\x82\xa2if" + b"\x91" * 900 + b"\xc0\xa5serve\xa2on"),
    ("limit.logic_depth", {"if": True, "split": [["on", 1]], "by": nested(limits.LOGIC_DEPTH_MAX + 1)}),
]


@pytest.mark.parametrize(("kind", "body"), BAD_RULES)
def test_a_bad_rule_is_skipped_and_the_others_serve(kind: str, body: object) -> None:
    state = read(
        cells(
            env__prod__order=["bad", "good"],
            env__prod__rule__bad=body,
            env__prod__rule__good={"if": nested(limits.LOGIC_DEPTH_MAX), "serve": "off", "since": "v9"},
        )
    )
    assert problems(state) == [(kind, "env/prod/rule/bad")]
    served = document(state, "prod")
    assert [found["id"] for found in served["rules"]] == ["good"]
    assert served["default"] == "on"
    assert "since" not in served["rules"][0]
    assert "broken" not in served


def test_a_rule_whose_variant_is_gone_is_still_shown_to_people() -> None:
    state = read(cells(env__prod__rule__r={"if": True, "serve": "gone"}))
    assert describe(state)["environments"]["prod"]["rules"] == [{"id": "r", "if": True, "serve": "gone"}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("invalid", 7),
        ("invalid", [1]),
        ("invalid", {"a": b"b"}),
        ("unreadable", JUNK),
        ("limit.logic_depth", nested(limits.LOGIC_DEPTH_MAX + 1)),
    ],
)
def test_targeting_that_cannot_be_used_puts_its_environment_on_the_off_path(kind: str, value: object) -> None:
    state = read(cells(env__prod__targeting=value, env__dev__enabled=True))
    assert problems(state) == [(kind, "env/prod/targeting")]
    assert document(state, "prod")["broken"] == kind
    assert document(state, "prod")["off_variant"] == "off"
    assert "broken" not in document(state, "dev")


@pytest.mark.parametrize("targeting", [None, {}, tombstone("ann")])
def test_no_targeting_leaves_the_rules_alone(targeting: object) -> None:
    state = read(cells(env__prod__targeting=targeting, env__prod__rule__r={"if": True, "serve": "on"}))
    assert state.conflicts == state.problems == ()
    assert len(document(state, "prod")["rules"]) == 1


@pytest.mark.parametrize(
    "exists", [JUNK, None, 7, {}, {"type": "date"}, {"type": 7, "epoch": "x", "created": -1}]
)
def test_a_flag_whose_type_cannot_be_told_is_off_everywhere(exists: object) -> None:
    state = read(cells(exists=exists))
    for environment in ENVIRONMENTS:
        served = document(state, environment)
        assert served["broken"] in {"unreadable", "invalid"}
        assert served["off_variant"] is served["default"] is None
        assert served["variants"] == {}
    assert state.problems[0].field == "env/prod/default"
    assert ("unreadable" if exists == JUNK else "invalid", "exists") in problems(state)


@pytest.mark.parametrize("variant", [7, JUNK, None, ["on"]])
def test_a_prerequisite_that_cannot_be_read_is_not_met(variant: object) -> None:
    served = document(read(cells(prerequisite__other=variant)), "prod")
    assert served["broken"] in {"unreadable", "invalid"}
    assert served["off_variant"] == "off"


@pytest.mark.parametrize("value", [JUNK, 7, None, [], {}])
def test_plain_fields_that_cannot_be_used_have_safe_values(value: object) -> None:
    fields = ("archived", "client_visible", "description", "env/prod/enabled", "owner")
    state = read(cells(**{field.replace("/", "__"): value for field in fields}))
    kind = "unreadable" if value == JUNK else "invalid"
    assert problems(state) == [(kind, field) for field in fields]
    assert (state.archived, state.client_visible, state.description, state.owner) == (False, False, "", "")
    assert document(state, "prod")["enabled"] is False


@pytest.mark.parametrize("value", [JUNK, None, [], {}, float("nan")])
def test_metadata_that_is_no_scalar_is_left_out(value: object) -> None:
    state = read(cells(env__prod__metadata__bad=value, env__prod__metadata__good=1.5))
    assert document(state, "prod")["metadata"] == {"good": 1.5}
    assert [field for _, field in problems(state)] == ["env/prod/metadata/bad"]


def test_limits_hold_to_the_last_one() -> None:
    variants = {f"variant__v{n}": True for n in range(limits.VARIANTS_MAX - 2)}
    assert "broken" not in document(read(cells(**variants)), "prod")
    over = document(read(cells(**variants, variant__one_more=True)), "prod")
    assert over["broken"] == "limit.variants"
    assert over["variants"] == {"off": False}

    rules = {f"env__prod__rule__r{n}": {"if": True, "serve": "on"} for n in range(limits.RULES_MAX)}
    assert len(document(read(cells(**rules)), "prod")["rules"]) == limits.RULES_MAX
    state = read(cells(**rules, env__prod__rule__x={"if": True, "serve": "on"}, env__dev__enabled=True))
    assert document(state, "prod")["broken"] == "limit.rules"
    assert document(state, "prod")["rules"] == []
    assert "broken" not in document(state, "dev")

    room = limits.FLAG_BYTES_MAX - read(cells(description="x" * 1000)).size_bytes
    full = read(cells(description="x" * (1000 + room)))
    assert full.size_bytes == limits.FLAG_BYTES_MAX
    assert full.broken is None
    assert read(cells(description="x" * (1001 + room))).broken == "limit.flag_bytes"


def test_fields_of_a_newer_version_and_of_other_environments_do_no_harm() -> None:
    plain = read(cells())
    more = read(cells(schedule="x" * limits.FLAG_BYTES_MAX, env__qa__default=7, env__prod__rollout=JUNK))
    assert describe(more) == describe(plain)
    assert document(more, "prod") == document(plain, "prod")


def test_a_kill_that_cannot_be_read_kills_and_is_reported() -> None:
    state = read(
        cells() | {NO_GENERATION: {"kill/prod": packed((5, 9, JUNK)), "exists": packed((5, 9, JUNK))}}
    )
    assert document(state, "prod")["enabled"] is False
    assert problems(state) == [("invalid", "kill/prod")]


def test_a_defect_and_a_race_of_one_cell_are_two_records() -> None:
    found = cells()
    found[GENERATION]["env/prod/default"] = packed((5, 9, encode("a", "gone")), (6, 8, encode("b", "on")))
    state = read(found)
    assert len({record.id for record in (*state.conflicts, *state.problems)}) == 2


def test_values_of_one_flag_are_not_shared_with_another() -> None:
    author = Author(1)
    for key in ("f", "g"):
        author.create(key, kind="object", variant__v={"a": 1})
    left, right = author.shown("f").variants["v"], author.shown("g").variants["v"]
    assert left == right
    assert left is not right
