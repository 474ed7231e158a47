"""Parked changes: written and read again, junk passed over, and told as a conflict with what is there now."""

from __future__ import annotations

import msgpack
import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node, node_with
from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION, Change, render_id
from vexil.crdt.conflicts import ConflictRecord
from vexil.crdt.parked import (
    MESSAGE_CHARACTERS_MAX,
    parked_value,
    parse_name,
    read_parked,
    returned_record,
    writes_of,
)
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.node.authoring import kill_flag

NAME = f"{7:016x}.3"


def old(node: Node) -> Change:
    """The last change of ``node``, as if it were of a time that is over."""
    return node.log[-1]


def park(node: Node, change: Change, name: str = "flag/f") -> None:
    value = parked_value(change, name, writes_of(change)[name], reason="changed", place=("us-1", "us"))
    node.write(CellWrite(schema.parked_object(change.dot), NO_GENERATION, schema.parked_field(name), value))


def beside(*patches: dict) -> tuple[Node, Node]:
    """A node of the cluster, and one that was cut off and has made ``patches``."""
    here = node_with({**BOOLEAN, "environments": {"prod": {"enabled": True}}})
    away = Node(2)
    away.pull(here)
    for patch in patches:
        away.patch(patch)
    return here, away


def record(node: Node) -> ConflictRecord:
    [found] = node.conflicts()
    return found


def test_what_was_parked_is_read_again() -> None:
    here, away = beside({"owner": "mine", "environments": {"prod": {"enabled": False}}})
    park(here, old(away))
    name = schema.parked_object(old(away).dot)
    [parked] = read_parked(name.removeprefix("parked/"), here.replica.cells(name))
    assert parked.change == old(away).dot
    assert list(parked.writes) == writes_of(old(away))["flag/f"]
    assert (parked.object, parked.reason, parked.author) == ("flag/f", "changed", "alice")
    assert (parked.node, parked.region, parked.hlc) == ("us-1", "us", old(away).hlc)
    assert (parked.creates, parked.deletes) == (False, False)


def test_a_record_names_the_old_change_and_what_is_there_now() -> None:
    here, away = beside({"owner": "mine"})
    here.patch({"owner": "theirs"})
    park(here, old(away))
    found = record(here)
    mine, theirs = found.siblings
    assert (found.kind, found.object, found.field, found.environment) == ("returned", "flag/f", "owner", None)
    assert (mine.change, mine.value, mine.place) == (old(away).id, "mine", ("us-1", "us"))
    assert (theirs.change, theirs.value) == (found.winner, "theirs")
    assert found.reason == "changed"


def test_a_kill_names_its_environment() -> None:
    here, away = beside()
    away.take(kill_flag(away, "f", "prod"))
    park(here, old(away))
    found = record(here)
    assert (found.field, found.environment, found.siblings[0].value) == ("kill/prod", "prod", True)


def test_several_fields_are_told_together() -> None:
    here, away = beside({"owner": "mine", "description": "mine too", "variants": {"x": True}})
    park(here, old(away))
    found = record(here)
    mine, theirs = found.siblings
    assert found.field == ""
    assert mine.value == {"owner": "mine", "description": "mine too", "variant/x": True}
    assert theirs.value == {}


def test_a_delete_is_told_as_one() -> None:
    here, away = beside()
    away.delete()
    park(here, old(away))
    mine, theirs = record(here).siblings
    assert (record(here).field, mine.removed, theirs.removed) == ("exists", True, False)


def test_of_an_object_that_is_gone_there_is_no_present_value() -> None:
    here, away = beside({"owner": "mine"})
    here.delete()
    park(here, old(away))
    assert (record(here).winner, len(record(here).siblings)) == (None, 1)


def test_the_record_is_another_one_as_soon_as_its_object_has_changed() -> None:
    here, away = beside({"owner": "mine"})
    park(here, old(away))
    first = record(here).id
    here.patch({"description": "of no concern"})
    assert record(here).id == first
    here.patch({"owner": "theirs"})
    assert record(here).id != first


def test_the_record_is_the_same_at_every_node() -> None:
    here, away = beside({"owner": "mine"})
    park(here, old(away))
    there = Node(3)
    there.pull(here)
    assert there.conflicts() == here.conflicts()


def test_the_record_is_the_same_whether_a_removal_has_been_collected_or_not() -> None:
    here, away = beside({"tags": ["x"]}, {"tags": ["x", "y"], "owner": "mine"})
    here.patch({"tags": ["y"]})
    here.patch({"tags": []})
    park(here, old(away))
    there = Node(3)
    there.pull(here)
    before = record(there)
    assert there.replica.collect("flag/f", dict(there.replica.vv)), "the tag is garbage"
    park(there, old(away))
    here.pull(there)
    assert record(there) == record(here)
    assert record(here).siblings[1:] == before.siblings[1:]


def test_a_value_that_cannot_be_read_is_kept_and_told() -> None:
    here, away = beside({"owner": "mine"})
    change = old(away)
    change.operations = tuple(
        o._replace(payload=b"\xc1") if o.field == "owner" else o for o in change.operations
    )
    park(here, change)
    name = schema.parked_object(change.dot)
    [parked] = read_parked(name.removeprefix("parked/"), here.replica.cells(name))
    assert [w.payload for w in parked.writes if w.field == "owner"] == [b"\xc1"]
    assert not record(here).siblings[0].readable


def test_a_long_message_is_cut() -> None:
    _, away = beside({"owner": "mine"})
    change = old(away)
    change.message = "x" * 10_000
    value = parked_value(change, "flag/f", writes_of(change)["flag/f"], reason="changed", place=None)
    assert len(value["message"]) == MESSAGE_CHARACTERS_MAX
    assert (value["node"], value["region"]) == ("", "")


def test_what_was_settled_is_not_read_any_more() -> None:
    here, away = beside({"owner": "mine"})
    park(here, old(away))
    here.write(CellWrite(schema.parked_object(old(away).dot), NO_GENERATION, "change/flag/f", TOMBSTONE))
    assert here.conflicts() == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "7.3",
        f"{7:016x}",
        f"{7:016x}.0",
        f"{7:016x}.03",
        f"{0:016x}.1",
        f"{7:016X}.3 ",
        f"{7:016x}.-1",
        "9" * 36,
    ],
)
def test_a_name_that_is_no_change_holds_nothing(name: str) -> None:
    assert parse_name(name) is None
    assert read_parked(name, {}) == ()


SOUND = {
    "reason": "changed",
    "object": "flag/f",
    "operations": [[None, "kill/prod", True]],
    "author": "a",
    "message": "",
    "hlc": 5,
    "time": "",
    "node": "us-1",
    "region": "us",
}


def cells_with(payload: bytes) -> dict:
    packed = msgpack.packb([9, 1, 5, payload, 0, 0, 0])
    return {NO_GENERATION: {"change/flag/f": packed}}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {},
        {**SOUND, "object": "flag/g"},
        {**SOUND, "operations": []},
        {**SOUND, "operations": None},
        {**SOUND, "operations": [[None]]},
        {**SOUND, "operations": [["0:0", "f", 1]]},
        {**SOUND, "operations": [[f"{0:016x}:0", "f", 1]]},
        {**SOUND, "operations": [[7, "f", 1]]},
        {**SOUND, "operations": [[None, 7, 1]]},
        {**SOUND, "operations": [[None, "f", 1, "zz"]]},
        {**SOUND, "operations": [[None, "f", 1, 2, 3]]},
        {**SOUND, "operations": [[None, "f", 1], [None, "f", 2]]},
        {**SOUND, "hlc": "5"},
        {**SOUND, "hlc": -1},
        {**SOUND, "hlc": True},
    ],
)
def test_junk_is_passed_over(value: object) -> None:
    assert read_parked(NAME, cells_with(msgpack.packb(["a", value]))) == ()
    assert read_parked(NAME, cells_with(b"\xc1")) == ()


def test_texts_that_are_none_are_read_as_empty() -> None:
    value = {**SOUND, "author": 7, "reason": None, "node": []}
    [parked] = read_parked(NAME, cells_with(msgpack.packb(["a", value])))
    assert (parked.author, parked.reason, parked.node) == ("", "", "")
    found = returned_record(parked, {})
    assert (found.siblings[0].change, found.siblings[0].place) == (render_id((7, 3)), None)
