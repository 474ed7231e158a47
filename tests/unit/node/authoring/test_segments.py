"""Segments: members that are cells of their own, rules, the whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.node.authoring.nodes import Node, fields
from vexil.crdt.payload import TOMBSTONE
from vexil.node.authoring import Intent, change_members, delete_segment, patch_segment
from vexil.node.errors import Invalid, LimitExceeded, NotFound

FULL = {
    "key": "s",
    "description": "beta",
    "members": ["u1", "u2"],
    "rules": [{"id": "b", "if": {"==": [1, 1]}}, {"id": "a", "description": "staff", "if": True}],
}


def beta() -> Node:
    node = Node()
    node.put_segment(FULL)
    return node


def patch(node: Node, body: object) -> Intent:
    intent = patch_segment(node, "s", body, new_id=node.new_id)
    node.take(intent)
    return intent


def test_a_segment_reads_as_it_was_written() -> None:
    node = Node()
    assert node.put_segment(FULL).created == {"segment/s"}
    assert node.segment() == {**FULL, "needs_review": False, "conflicts": []}


def test_putting_what_is_there_writes_nothing() -> None:
    node = beta()
    intent = node.put_segment(node.segment())
    assert (intent.writes, intent.created) == ([], frozenset())


def test_a_put_replaces_and_a_patch_merges() -> None:
    node = beta()
    assert fields(patch(node, {"members": ["u1", "u3"]})) == ["member/u2", "member/u3"]
    assert fields(patch(node, {"description": None, "members": None})) == [
        "description",
        "member/u1",
        "member/u3",
    ]
    assert fields(node.put_segment({"members": ["x"]})) == ["member/x", "rule/a", "rule/b"]


def test_rules_keep_their_order() -> None:
    node = beta()
    assert fields(patch(node, {"rules": FULL["rules"][::-1]})) == ["order"]
    assert [rule["id"] for rule in node.segment()["rules"]] == ["a", "b"]


def test_members_come_and_go_one_by_one() -> None:
    node = beta()
    intent = change_members(node, "s", {"add": ["u1", "u3", "u3"], "remove": ["u2", "u9"]})
    assert {w.field: w.value for w in intent.writes if w.field != "exists"} == {
        "member/u2": TOMBSTONE,
        "member/u3": True,
    }
    [exists] = [w.value for w in intent.writes if w.field == "exists"]
    assert exists == {"epoch": 1, "created": node.log[0].hlc}
    assert change_members(node, "s", {"add": ["u1"]}).writes == []
    assert change_members(node, "s", {}).writes == []


def test_a_segment_that_is_not_there_cannot_be_edited() -> None:
    with pytest.raises(NotFound) as caught:
        change_members(Node(), "s", {"add": ["x"]})
    assert caught.value.code == "segment.not_found"
    with pytest.raises(NotFound):
        delete_segment(Node(), "s")
    with pytest.raises(NotFound):
        patch(Node(), {})


def test_a_deleted_segment_comes_back_as_another_one() -> None:
    node = beta()
    node.take(delete_segment(node, "s"))
    intent = node.put_segment({})
    assert [w.value for w in intent.writes] == [{"epoch": 2}]
    assert node.segment()["members"] == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (None, ""),
        ([], ""),
        ({"key": "t"}, "/key"),
        ({"x": 1}, "/x"),
        ({"description": 1}, "/description"),
        ({"members": "u1"}, "/members"),
        ({"members": {"u1": True}}, "/members"),
        ({"members": ["u1", 2]}, "/members/1"),
        ({"members": [""]}, "/members/0"),
        ({"members": ["x" * 1025]}, "/members/0"),
        ({"rules": [{"if": True, "serve": "on"}]}, "/rules/0/serve"),
        ({"rules": [{}]}, "/rules/0/if"),
        ({"rules": ["x"]}, "/rules/0"),
        ({"members": ["\udfff"]}, "/members/0"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_with_the_place(body: object, path: str) -> None:
    edits: tuple[Callable[[], object], ...] = (
        lambda: beta().put_segment(body),
        lambda: patch(beta(), body),
    )
    for edit in edits:
        with pytest.raises(Invalid) as caught:
            edit()
        assert caught.value.code == "segment.invalid"
        assert [e["path"] for e in caught.value.members["errors"]] == [path]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body",
    [None, [], {"add": "u1"}, {"add": [1]}, {"more": []}, {"add": ["x"], "remove": ["x"]}, {"add": [["x"]]}],
)
def test_a_body_that_names_no_members_is_refused(body: object) -> None:
    with pytest.raises(Invalid):
        change_members(beta(), "s", body)


@pytest.mark.parametrize("key", ["", "_s", "a/b", "\ud800"])
def test_a_name_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(Invalid):
        Node().put_segment({}, key=key)


def test_segments_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    node = beta()
    with pytest.raises(LimitExceeded) as caught:
        node.put_segment({}, key="x" * 201)
    assert caught.value.code == "limit.segment_key_bytes"
    with pytest.raises(LimitExceeded) as caught:
        patch(node, {"rules": [{"if": True}] * 201})
    assert caught.value.code == "limit.rules"
    with pytest.raises(LimitExceeded) as caught:
        change_members(node, "s", {"add": [f"m{i}" for i in range(5000)]})
    assert caught.value.code == "limit.change_cells"
    monkeypatch.setattr("vexil.node.authoring.segments.SEGMENT_MEMBERS_MAX", 3)
    node.take(change_members(node, "s", {"add": ["u3"]}))
    with pytest.raises(LimitExceeded) as caught:
        change_members(node, "s", {"add": ["u4"]})
    assert caught.value.code == "limit.segment_members"
    node.take(change_members(node, "s", {"add": ["u4"], "remove": ["u3"]}))
    assert node.segment()["members"] == ["u1", "u2", "u4"]
