"""Segments, and the objects that have no generations."""

from __future__ import annotations

import json

import pytest

from tests.unit.crdt.authors import Author, meet, packed
from vexil.crdt import limits, schema
from vexil.crdt import segment_state as segments
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.materialise import (
    KeyState,
    MemberState,
    ProjectState,
    describe_segment,
    object_conflicts,
    read_flagd,
    read_key,
    read_member,
    read_project,
    read_segment,
    segment_document,
    update_members,
)
from vexil.crdt.payload import TOMBSTONE, encode, tombstone
from vexil.crdt.pen import NEW_GENERATION

JUNK = b"\xc1"
SEGMENT = schema.segment_object("s")
EXISTS = {"epoch": 1, "created": 5}


def create(author: Author, *members: str, **values: object) -> Dot:
    fields = {schema.member_field(member): True for member in members}
    return author.write(SEGMENT, NEW_GENERATION, {schema.EXISTS: EXISTS, **fields, **values}).dot


def test_a_segment_is_described_as_the_api_shows_it() -> None:
    author = Author(1)
    create(
        author,
        "u2",
        "u1",
        **{"description": "beta", "rule/b": {"if": False}, "rule/a": {"if": True}, "order": ["b", "a"]},
    )
    assert describe_segment(author.segment()) == {
        "key": "s",
        "description": "beta",
        "members": ["u1", "u2"],
        "rules": [{"id": "b", "if": False}, {"id": "a", "if": True}],
        "needs_review": False,
        "conflicts": [],
    }
    assert segment_document(author.segment()) == {
        "members": {"u1", "u2"},
        "rules": [{"id": "b", "if": False}, {"id": "a", "if": True}],
    }


def test_an_add_beats_a_remove_that_had_not_seen_it() -> None:
    left, right = Author(1), Author(2, now=99)
    generation = create(left, "u1", "u2")
    meet(left, right)
    left.write(SEGMENT, generation, {"member/u1": True})
    right.write(SEGMENT, generation, {"member/u1": TOMBSTONE, "member/u2": TOMBSTONE})
    meet(left, right)
    for author in (left, right):
        assert author.segment().members == {"u1"}
        assert [found.kind for found in author.segment().conflicts] == ["edit-remove"]


def test_a_live_set_follows_the_touched_members() -> None:
    author = Author(1)
    generation = create(author, "u1", "u2")
    state = author.segment()
    change = author.write(
        SEGMENT, generation, {"exists": EXISTS, "member/u3": True, "member/u1": TOMBSTONE, "rule/r": {}}
    )
    fields = [operation.field for operation in change.operations]
    cells = author.replica.cells(SEGMENT)
    assert update_members(state.members, cells, shown=generation, fields=[*fields, "member/never"])
    assert state.members == author.segment().members == {"u2", "u3"}


def test_a_live_set_is_not_followed_into_another_generation() -> None:
    author = Author(1)
    old = create(author, "u1")
    members = author.segment().members
    author.write(SEGMENT, old, {schema.EXISTS: TOMBSTONE})
    assert not update_members(members, author.replica.cells(SEGMENT), shown=old, fields=["member/u1"])
    assert read_segment("s", author.replica.cells(SEGMENT)) is None
    create(author, "u9")
    assert not update_members(members, author.replica.cells(SEGMENT), shown=old, fields=["member/u1"])
    assert members == {"u1"}


def test_concurrent_creates_of_a_segment() -> None:
    left, right = Author(1), Author(2)
    create(left, "u1")
    shown = create(right, "u1")
    meet(left, right)
    assert left.segment().conflicts == ()
    assert left.segment().generation == shown
    left.write(SEGMENT, shown, {"member/u2": True})
    (conflict,) = left.segment().conflicts
    assert conflict.kind == "concurrent-create"
    json.dumps([sibling.value for sibling in conflict.siblings])


def test_a_delete_beside_an_edit_needs_review() -> None:
    left, right = Author(1), Author(2)
    generation = create(left, "u1")
    meet(left, right)
    left.write(SEGMENT, generation, {schema.EXISTS: TOMBSTONE})
    right.write(SEGMENT, generation, {schema.EXISTS: EXISTS, "member/u2": True})
    meet(left, right)
    assert left.segment().needs_review
    assert left.segment().members == {"u1", "u2"}


@pytest.mark.parametrize("body", [None, 7, {}, {"if": b"x"}, {"if": True, "description": 1}, []])
def test_a_bad_rule_of_a_segment_is_skipped(body: object) -> None:
    author = Author(1)
    create(author, "u1", **{"rule/bad": body, "rule/good": {"if": True}, "description": 7, "order": 7})
    state = author.segment()
    assert [found["id"] for found in segment_document(state)["rules"]] == ["good"]
    assert {found.field for found in state.problems} == {"rule/bad", "description", "order"}
    json.dumps(describe_segment(state), allow_nan=False)


def test_too_many_rules_serve_none_and_too_many_members_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_MEMBERS_MAX", 2)
    author = Author(1)
    rules = {f"rule/{n}": {"if": True} for n in range(limits.RULES_MAX + 1)}
    generation = create(author, "u1", "u2", **rules)
    assert [found.kind for found in author.segment().problems] == ["limit.rules"]
    assert segment_document(author.segment())["rules"] == []
    author.write(SEGMENT, generation, {"member/u3": True})
    assert {found.kind for found in author.segment().problems} == {"limit.rules", "limit.segment_members"}
    assert segment_document(author.segment())["members"] == {"u1", "u2", "u3"}


def plain(**fields: object) -> dict[Dot, dict[str, bytes]]:
    return {
        NO_GENERATION: {
            name.replace("__", "/"): packed(
                (5, 9, value if isinstance(value, bytes) else encode("ann", value))
            )
            for name, value in fields.items()
        }
    }


def test_a_project() -> None:
    assert read_project({}) == ProjectState(False, (), "v3")
    found = plain(exists=True, environment__prod=True, environment__dev=True, bucketing="v2")
    assert read_project(found) == ProjectState(True, ("dev", "prod"), "v2")
    assert read_project(plain(exists=tombstone("a"), environment__prod=tombstone("a"))) == read_project({})


@pytest.mark.parametrize("junk", [JUNK, 7, ["v2"], {}, None, "v1"])
def test_a_project_with_junk_is_still_a_project(junk: object) -> None:
    found = plain(exists=True, bucketing=junk, **{"environment__a b": True, "environment__ok": junk, "x": 1})
    assert read_project(found) == ProjectState(True, ("ok",), "v3")


def test_a_revoked_key_stays_revoked_whatever_else_is_written() -> None:
    left, right = Author(1), Author(2, now=99)
    name = schema.key_object("k1")
    record = {"kind": "admin", "role": "owner"}
    left.write(name, NO_GENERATION, {schema.RECORD: record})
    meet(left, right)
    assert read_key(left.replica.cells(name)) == KeyState(record, revoked=False)
    left.write(name, NO_GENERATION, {schema.REVOKED: True})
    right.write(name, NO_GENERATION, {schema.RECORD: record, schema.REVOKED: TOMBSTONE})
    meet(left, right)
    right.write(name, NO_GENERATION, {schema.REVOKED: TOMBSTONE})
    for author in (left, right):
        assert read_key(author.replica.cells(name)).revoked


@pytest.mark.parametrize("junk", [JUNK, 7, [], {}, None, {"a": b"b"}])
def test_a_key_without_a_readable_record_has_none(junk: object) -> None:
    assert read_key(plain(record=junk)) == KeyState(None, revoked=False)
    assert read_key(plain(revoked=junk)).revoked


def test_a_member() -> None:
    found = plain(
        record={"region": "eu", "peer_url": "http://p", "http_url": "http://h"},
        current=255,
        incarnation__00000000000000ff={"node": "eu-1", "region": "eu"},
        incarnation__ff={"node": "x", "region": "x"},
        **{"incarnation__-000000000000001": {}, "incarnation__0000000000000abg": {}},
    )
    assert read_member(found) == MemberState(True, "eu", "http://p", "http://h", 255, {255: ("eu-1", "eu")})
    assert read_member({}) == MemberState(False, "", "", "", None, {})


@pytest.mark.parametrize("junk", [JUNK, True, [], {"region": 7}, None, "x"])
def test_a_member_with_junk_is_nobody(junk: object) -> None:
    found = read_member(plain(record=junk, current=junk, incarnation__00000000000000ff=junk))
    assert (found.region, found.peer_url, found.current) == ("", "", None)
    assert found.incarnations.get(255, ("", "")) == ("", "")


def test_the_flagd_part_of_an_environment() -> None:
    found = plain(evaluator__e={"var": "x"}, evaluator__bad=JUNK, metadata__m="v", metadata__bad=[1])
    state = read_flagd("prod", found)
    assert state.evaluators == {"e": {"var": "x"}}
    assert state.metadata == {"m": "v"}
    assert [(p.object, p.kind, p.field) for p in state.problems] == [
        ("flagd/prod", "unreadable", "evaluator/bad"),
        ("flagd/prod", "invalid", "metadata/bad"),
    ]
    assert read_flagd("prod", {}).evaluators == {}


def test_races_of_objects_without_generations_are_told() -> None:
    left, right = Author(1), Author(2)
    name = schema.project_object("p")
    left.write(name, NO_GENERATION, {schema.BUCKETING: "v2"})
    right.write(name, NO_GENERATION, {schema.BUCKETING: "v3"})
    meet(left, right)
    (conflict,) = object_conflicts(name, left.replica.cells(name))
    assert (conflict.kind, conflict.object, conflict.field) == ("lww", name, "bucketing")
    assert object_conflicts(name, right.replica.cells(name)) == (conflict,)
    assert object_conflicts("newer/p", left.replica.cells(name)) == ()
