"""Killing, taking a kill back, deleting one flag: always over all that its author has seen, never over more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, FULL, Node, fields, node_with, pair
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import TOMBSTONE
from vexil.node.authoring import kill_flag, unkill_flag
from vexil.node.errors import Invalid, PreconditionRequired


def test_a_kill_is_written_even_if_it_is_killed() -> None:
    node = node_with(BOOLEAN)
    for _ in range(2):
        intent = kill_flag(node, "f", "prod")
        node.take(intent)
        assert [(w.generation, w.field, w.value) for w in intent.writes if w.field != "exists"] == [
            (NO_GENERATION, "kill/prod", True)
        ]
        assert [w.field for w in intent.writes if w.field == "exists"] == ["exists"]
    assert fields(node.patch({"environments": {"prod": {"kill": True}}})) == ["kill/prod"]


def test_nobody_takes_a_kill_back_that_he_has_not_seen() -> None:
    node = node_with(BOOLEAN)
    node.take(kill_flag(node, "f", "prod"))
    edits: tuple[Callable[[], object], ...] = (
        lambda: unkill_flag(node, "f", "prod", if_match=None),
        lambda: node.patch({"environments": {"prod": {"kill": False}}}),
        lambda: node.patch({"environments": {"prod": {"kill": None}}}),
        lambda: node.patch({"environments": {"prod": None}}),
        lambda: node.patch({"environments": None}),
    )
    for edit in edits:
        with pytest.raises(PreconditionRequired) as caught:
            edit()
        assert (caught.value.status, caught.value.code) == (428, "precondition.required")
    node.take(unkill_flag(node, "f", "prod", if_match=node.etag()))
    assert node.flag()["environments"]["prod"]["kill"] is False


def test_clearing_what_is_not_killed_needs_the_condition_and_writes_nothing() -> None:
    node = node_with(BOOLEAN)
    with pytest.raises(PreconditionRequired):
        node.patch({"environments": {"prod": {"kill": False}}})
    assert node.patch({"environments": {"prod": {"kill": False}}}, if_match=node.etag()).writes == []
    assert unkill_flag(node, "f", "prod", if_match="*").writes == []


def test_killing_in_an_unknown_environment_is_refused() -> None:
    node = node_with(BOOLEAN)
    for edit in (kill_flag, unkill_flag):
        with pytest.raises(Invalid) as caught:
            edit(node, "f", "qa", if_match=node.etag())
        assert caught.value.code == "flag.invalid"


def test_a_delete_removes_every_generation_that_is_here() -> None:
    near, far = Node(1), Node(2)
    near.create(BOOLEAN)
    far.create({**BOOLEAN, "description": "other"})
    near.pull(far)
    intent = near.delete()
    removed = {w.generation for w in intent.writes if w.value is TOMBSTONE}
    assert removed == {(1, 1), (2, 1)}
    assert not near.has()


def test_an_edit_that_has_not_seen_the_delete_brings_the_whole_flag_back() -> None:
    near, far = pair(FULL)
    near.delete()
    far.patch({"description": "still here"})
    near.pull(far)
    shown = near.flag()
    assert shown["needs_review"] is True
    assert shown["description"] == "still here"
    assert shown["owner"] == "payments"
