"""Reading is total and pure: whatever is in the cells, every node gets the same servable answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import msgpack
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.crdt.authors import ENVIRONMENTS, packed
from vexil.crdt import cell
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.materialise import (
    ConflictRecord,
    describe,
    describe_segment,
    document,
    object_conflicts,
    read_flag,
    read_flagd,
    read_key,
    read_member,
    read_project,
    read_segment,
    segment_document,
)
from vexil.crdt.payload import encode, is_tombstone, tombstone
from vexil.crdt.policy import killed, lww, present
from vexil.crdt.validity import FLAG_TYPES, variant_defect

Cells = dict[Dot, dict[str, bytes]]

NAMES = st.sampled_from(["on", "off", "", "a/b", "x"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    NAMES,
    st.binary(max_size=3),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.binary(max_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)
DEEP = st.builds(
    lambda head, levels: b"\x92\xa0" + head * levels + b"\xc0",
    st.sampled_from([b"\x91", b"\x81\xa2if", b"\x91\x81\xa1!"]),
    st.integers(20, 1100),
)
RULES = st.fixed_dictionaries(
    {"if": st.just(True) | VALUES},
    optional={
        "serve": NAMES | VALUES,
        "split": st.lists(st.tuples(NAMES, st.integers(0, 9)), max_size=3) | VALUES,
        "by": VALUES,
        "description": NAMES | VALUES,
    },
)
EXISTS = st.fixed_dictionaries(
    {"epoch": st.integers(0, 3), "created": st.integers(0, 5), "type": st.sampled_from(FLAG_TYPES)}
)


def encoded(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return values.map(lambda value: bytes(msgpack.packb(["ann", value])))


PAYLOADS = st.one_of(
    encoded(VALUES),
    encoded(EXISTS),
    encoded(RULES),
    st.binary(max_size=8),
    DEEP,
    st.just(tombstone("ann")),
    st.just(bytes(msgpack.packb(["ann", msgpack.Timestamp(1)]))),
)


def a_cell(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    lane = st.tuples(st.integers(1, 4), st.integers(0, 6), payloads)
    return st.lists(lane, max_size=3, unique_by=lambda found: found[0]).map(lambda lanes: packed(*lanes))


def cells_of(sound: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, bytes]]:
    """Cells under these fields, often with what belongs there and sometimes with anything."""
    return st.fixed_dictionaries(
        {},
        optional={field: a_cell(st.one_of(encoded(values), PAYLOADS)) for field, values in sound.items()},
    )


FLAG_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "description": NAMES,
    "owner": NAMES,
    "archived": st.booleans(),
    "client_visible": st.booleans(),
    "tag/web": st.just(True),
    "variant/on": SCALARS,
    "variant/off": SCALARS,
    "variant/": SCALARS,
    "prerequisite/other": NAMES,
    "schedule": VALUES,
    "kill/prod": VALUES,
}
for _environment in (*ENVIRONMENTS, "qa"):
    FLAG_FIELDS |= {
        f"env/{_environment}/enabled": st.booleans(),
        f"env/{_environment}/default": NAMES,
        f"env/{_environment}/off_variant": NAMES,
        f"env/{_environment}/rule/r1": RULES,
        f"env/{_environment}/rule/r2": RULES,
        f"env/{_environment}/order": st.lists(NAMES | st.sampled_from(["r1", "r2"])),
        f"env/{_environment}/targeting": st.dictionaries(NAMES, VALUES, max_size=2),
        f"env/{_environment}/metadata/k": SCALARS,
        f"env/{_environment}/rollout": VALUES,
    }
GENERATIONS = st.builds(
    lambda exists, fields: {**fields, "exists": exists},
    a_cell(st.one_of(encoded(EXISTS), encoded(EXISTS), PAYLOADS)),
    cells_of(FLAG_FIELDS),
)
FLAGS = st.builds(
    lambda generations, kills: generations | {NO_GENERATION: kills},
    st.dictionaries(st.sampled_from([(1, 1), (2, 1), (2, 2)]), GENERATIONS, min_size=1, max_size=2),
    cells_of({"kill/dev": st.booleans(), "kill/prod": st.booleans(), "exists": EXISTS, "variant/on": VALUES}),
)
SEGMENTS = st.dictionaries(
    st.sampled_from([(1, 1), (2, 1), NO_GENERATION]),
    st.builds(
        lambda exists, fields: {**fields, "exists": exists},
        a_cell(st.one_of(encoded(EXISTS), PAYLOADS)),
        cells_of(
            {
                "description": NAMES,
                "order": st.lists(NAMES),
                "member/u1": st.just(True),
                "member/": st.just(True),
                "rule/x": RULES,
                "rule/on": RULES,
            }
        ),
    ),
    max_size=3,
)
PLAIN = cells_of(
    {
        "exists": st.just(True),
        "bucketing": st.sampled_from(["v2", "v3"]),
        "environment/dev": st.just(True),
        "record": st.dictionaries(st.sampled_from(["region", "peer_url"]), NAMES),
        "revoked": st.just(True),
        "current": st.integers(1, 9),
        "incarnation/00000000000000ff": st.dictionaries(st.sampled_from(["node", "region"]), NAMES),
        "incarnation/on": VALUES,
        "evaluator/e": VALUES,
        "metadata/m": SCALARS,
        "kill/x": VALUES,
    }
)


def text(value: object) -> str:
    """Strict JSON, so that what is no JSON fails; members in the order in which they stand."""
    return json.dumps(value, allow_nan=False)


def told(records: tuple[ConflictRecord, ...]) -> list[object]:
    return [
        (r.id, r.kind, r.object, r.environment, r.field, r.winner, text([s.value for s in r.siblings]))
        for r in records
    ]


def everything(cells: Cells) -> list[object]:
    """All that one reading of a flag says, as text."""
    state = read_flag("f", cells, ENVIRONMENTS)
    if state is None:
        return []
    documents = [text(document(state, environment)) for environment in ENVIRONMENTS]
    return [text(describe(state)), *documents, *told(state.conflicts), *told(state.problems)]


def shuffled(cells: Cells, random: Random) -> Cells:
    """The same cells as another node may have come to hold them: fields and generations in another order."""

    def mix(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    return mix({generation: mix(fields) for generation, fields in cells.items()})


def assert_servable(served: dict[str, Any]) -> None:
    text(served)
    assert served["type"] in FLAG_TYPES
    assert type(served["enabled"]) is type(served["client_visible"]) is bool
    variants = served["variants"]
    assert all(variant_defect(served["type"], value) is None for value in variants.values())
    assert served["default"] is None or served["default"] in variants
    assert served["off_variant"] is None or served["off_variant"] in variants
    assert not (served["rules"] and served["targeting"])
    for rule in served["rules"]:
        assert rule.keys() <= {"id", "if", "serve", "split", "by"}
        named = [rule["serve"]] if "serve" in rule else [name for name, _ in rule["split"]]
        assert named
        assert set(named) <= set(variants)
    if "broken" in served:
        assert served["default"] is served["targeting"] is None
        assert served["rules"] == served["prerequisites"] == []
        assert variants.keys() <= {served["off_variant"]}


@given(cells=FLAGS)
@example(cells={(1, 1): {"exists": packed((1, 1, b"\x92\xa0" + b"\x91" * 1000 + b"\xc0"))}})
@settings(max_examples=100, deadline=None)
def test_any_cells_give_a_servable_flag(cells: Cells) -> None:
    before = json.dumps({str(k): {f: c.hex() for f, c in v.items()} for k, v in cells.items()})
    state = read_flag("f", cells, ENVIRONMENTS)
    if state is not None:
        for environment in ENVIRONMENTS:
            assert_servable(document(state, environment))
        described = describe(state)
        text(described)
        assert len(described["conflicts"]) == len(state.conflicts) + len(state.problems)
        ids = [found["id"] for found in described["conflicts"]]
        assert len(ids) == len(set(ids))
        for found in (*state.conflicts, *state.problems):
            text([sibling.value for sibling in found.siblings])
        kinds = [found.kind for found in state.conflicts]
        assert ("needs-review" in kinds) == state.needs_review
    assert before == json.dumps({str(k): {f: c.hex() for f, c in v.items()} for k, v in cells.items()})


@given(cells=FLAGS, random=st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_what_is_read_does_not_depend_on_the_order_of_arrival(cells: Cells, random: Random) -> None:
    assert everything(cells) == everything(shuffled(cells, random))


@given(cells=FLAGS)
@settings(max_examples=60, deadline=None)
def test_a_kill_wins_over_everything(cells: Cells) -> None:
    kill = packed((9, 0, encode("ann", True)))
    switches = cells.get(NO_GENERATION, {})
    beside = cell.join(switches.get("kill/prod", cell.EMPTY), kill)
    state = read_flag("f", cells | {NO_GENERATION: {**switches, "kill/prod": beside}}, ENVIRONMENTS)
    without = read_flag("f", cells, ENVIRONMENTS)
    assert (state is None) == (without is None)
    if state is not None and without is not None:
        assert document(state, "prod")["enabled"] is False
        assert document(state, "dev") == document(without, "dev")


@given(left=FLAGS, right=FLAGS, third=FLAGS)
@settings(max_examples=40, deadline=None)
def test_any_order_of_joining_reads_the_same(left: Cells, right: Cells, third: Cells) -> None:
    def join(first: Cells, second: Cells) -> Cells:
        joined = {generation: dict(fields) for generation, fields in first.items()}
        for generation, fields in second.items():
            into = joined.setdefault(generation, {})
            for field, found in fields.items():
                into[field] = cell.join(into.get(field, cell.EMPTY), found)
        return joined

    expected = everything(join(join(left, right), third))
    assert everything(join(third, join(right, left))) == expected
    assert everything(join(join(right, third), join(left, right))) == expected


@given(cells=SEGMENTS, random=st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_any_cells_give_a_servable_segment(cells: Cells, random: Random) -> None:
    state = read_segment("s", cells)
    again = read_segment("s", shuffled(cells, random))
    assert (state is None) == (again is None)
    if state is not None and again is not None:
        assert text(describe_segment(state)) == text(describe_segment(again))
        assert told(state.conflicts + state.problems) == told(again.conflicts + again.problems)
        served = segment_document(state)
        assert all(rule.keys() == {"id", "if"} for rule in served["rules"])
        text(served["rules"])


@given(fields=PLAIN, random=st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_any_cells_give_a_readable_plain_object(fields: dict[str, bytes], random: Random) -> None:
    cells = {NO_GENERATION: fields}
    other = shuffled(cells, random)
    for read in (read_project, read_key, read_member):
        assert repr(read(cells)) == repr(read(other))
    assert ("revoked" in fields and bool(cell.lanes(fields["revoked"]))) == read_key(cells).revoked
    flagd = read_flagd("prod", cells)
    text([flagd.evaluators, flagd.metadata])
    for kind in ("project", "key", "member", "flagd", "flag", "other"):
        found = object_conflicts(f"{kind}/x", cells)
        assert told(found) == told(object_conflicts(f"{kind}/x", other))


@given(found=a_cell(PAYLOADS), random=st.randoms(use_true_random=False))
def test_policies_take_lanes_in_any_order(found: bytes, random: Random) -> None:
    lanes = cell.live(found)
    mixed = list(lanes)
    random.shuffle(mixed)
    values = [lane for lane in lanes if not is_tombstone(lane.payload)]
    for policy in (lww, present, killed):
        assert policy(lanes).winner == policy(mixed).winner
        assert set(policy(lanes).siblings) == set(policy(mixed).siblings)
        assert set(policy(lanes).siblings) <= set(lanes)
        assert (policy(lanes).winner is None) == (not values)
    if values:
        assert lww(lanes).winner == max(values, key=lambda lane: (lane.hlc, lane.incarnation))
