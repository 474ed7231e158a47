"""Answers to parked changes: done now, or dismissed; and never to another one than was looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node
from tests.unit.node.authoring.returners import Returner
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.conflicts import ConflictRecord
from vexil.crdt.parked import read_parked
from vexil.crdt.pen import CellWrite
from vexil.node.authoring import change_set, kill_flag, resolve_conflict
from vexil.node.errors import ConflictChanged, InUse, Invalid, NotFound, VariantInUse

FLAG = {
    **BOOLEAN,
    "variants": {"on": True, "off": False, "x": True},
    "tags": ["web"],
    "environments": {"prod": {"enabled": True}},
}
MINE: dict = {"owner": "mine"}
THEIRS: dict = {"owner": "theirs"}


def returned(away: Callable[[Node], object], here: Callable[[Node], object]) -> tuple[Node, ConflictRecord]:
    """A node of the cluster with one parked change, and its record."""
    returner = Returner(FLAG)
    away(returner.away)
    here(returner.here)
    returner.back()
    [record] = returner.here.conflicts()
    return returner.here, record


def raced() -> tuple[Node, ConflictRecord]:
    return returned(lambda away: away.patch(MINE), lambda here: here.patch(THEIRS))


def parked_of(record: ConflictRecord) -> str:
    return record.siblings[0].change


def resolve(node: Node, record: ConflictRecord, **answer: object) -> None:
    node.take(resolve_conflict(node, record.id, answer))


def nothing_is_parked(node: Node) -> bool:
    names = [name for name in node.replica.objects if name.startswith("parked/")]
    assert names
    return all(not read_parked(n.removeprefix("parked/"), node.replica.cells(n)) for n in names)


def test_the_parked_value_can_be_chosen() -> None:
    node, record = raced()
    resolve(node, record, choose=parked_of(record))
    assert (node.flag()["owner"], node.conflicts()) == ("mine", [])
    assert nothing_is_parked(node)


def test_the_present_value_can_be_chosen() -> None:
    node, record = raced()
    resolve(node, record, choose=record.winner)
    assert (node.flag()["owner"], node.conflicts()) == ("theirs", [])
    assert nothing_is_parked(node)


def test_it_can_be_dismissed() -> None:
    node, record = raced()
    resolve(node, record, value=None)
    assert (node.flag()["owner"], node.conflicts()) == ("theirs", [])


def test_a_value_of_ones_own_is_an_edit_and_no_answer() -> None:
    node, record = raced()
    with pytest.raises(Invalid):
        resolve_conflict(node, record.id, {"value": "both"})


@pytest.mark.parametrize("first", ["parked", "present"])
def test_nobody_answers_twice(first: str) -> None:
    node, record = raced()
    resolve(node, record, choose=parked_of(record) if first == "parked" else record.winner)
    with pytest.raises(ConflictChanged):
        resolve_conflict(node, record.id, {"choose": parked_of(record)})


def test_an_answer_to_what_has_changed_meanwhile_is_not_taken() -> None:
    node, record = raced()
    node.patch({"owner": "later"})
    with pytest.raises(ConflictChanged):
        resolve_conflict(node, record.id, {"choose": parked_of(record)})
    [again] = node.conflicts()
    resolve(node, again, choose=parked_of(again))
    assert node.flag()["owner"] == "mine"


def test_two_answers_in_two_regions_end_it() -> None:
    node, record = raced()
    there = Node(3)
    there.pull(node)
    there.hlc = node.hlc
    resolve(node, record, choose=parked_of(record))
    resolve(there, record, choose=record.winner)
    node.pull(there)
    there.pull(node)
    assert node.conflicts() == there.conflicts() == []
    assert node.flag()["owner"] == there.flag()["owner"] == "mine"


def test_a_parked_edit_is_made_on_the_flag_that_is_there_now() -> None:
    def anew(node: Node) -> None:
        node.delete()
        node.create({**FLAG, "description": "another"})

    node, record = returned(lambda away: away.patch(MINE), anew)
    resolve(node, record, choose=parked_of(record))
    flag = node.flag()
    assert (flag["owner"], flag["description"], len(node.conflicts())) == ("mine", "another", 0)


def test_a_parked_edit_of_a_flag_that_is_gone_can_only_be_dismissed() -> None:
    node, record = returned(lambda away: away.patch(MINE), lambda here: here.delete())
    with pytest.raises(NotFound):
        resolve_conflict(node, record.id, {"choose": parked_of(record)})
    resolve(node, record, value=None)
    assert not node.has()
    assert node.conflicts() == []


def create(owner: str, **members: object) -> Callable[[Node], object]:
    return lambda node: node.create({"key": "g", "type": "boolean", "owner": owner, **members})


def test_a_parked_create_writes_on_top_of_what_is_there() -> None:
    node, record = returned(create("mine"), create("theirs", description="kept"))
    resolve(node, record, choose=parked_of(record))
    assert (node.flag("g")["owner"], node.flag("g")["description"]) == ("mine", "kept")
    assert node.conflicts() == []


def test_a_parked_create_creates() -> None:
    node, record = returned(create("mine"), create("theirs"))
    node.delete("g")
    [record] = node.conflicts()
    assert record.winner is None
    resolve(node, record, choose=parked_of(record))
    assert (node.flag("g")["owner"], node.flag("g")["variants"]) == ("mine", {"on": True, "off": False})
    assert node.conflicts() == []


def test_a_parked_create_of_another_type_is_refused() -> None:
    node, record = returned(
        create("mine"), lambda n: n.create({"key": "g", "type": "string", "variants": {"a": "b"}})
    )
    with pytest.raises(Invalid):
        resolve_conflict(node, record.id, {"choose": parked_of(record)})


def test_a_parked_create_takes_no_kill_back() -> None:
    returner = Returner(FLAG)
    away, node = returner.away, returner.here
    away.take(kill_flag(away, "f", "prod"))
    away.delete()
    away.create({**FLAG, "owner": "mine"})
    node.patch(THEIRS)
    returner.back()
    creates = away.log[-1]
    assert any(o.field == "kill/prod" for o in creates.operations), "it clears the kill that it has seen"
    [record] = [r for r in node.conflicts() if parked_of(r) == creates.id]
    resolve(node, record, choose=parked_of(record))
    flag = node.flag()
    assert (flag["owner"], flag["environments"]["prod"]["kill"]) == ("mine", True)


def test_a_parked_delete_deletes() -> None:
    node, record = returned(lambda away: away.delete(), lambda here: here.patch(THEIRS))
    resolve(node, record, choose=parked_of(record))
    assert (node.has(), node.conflicts()) == (False, [])


def test_a_parked_delete_of_what_others_require_is_refused() -> None:
    node, record = returned(lambda away: away.delete(), lambda here: here.patch(THEIRS))
    node.create({"key": "g", "type": "boolean", "prerequisites": [{"flag": "f", "variant": "on"}]})
    with pytest.raises(InUse):
        resolve_conflict(node, record.id, {"choose": parked_of(record)})


def test_what_makes_no_sense_today_is_refused() -> None:
    node, record = returned(
        lambda away: away.patch({"variants": {"x": None}, "owner": "mine"}), lambda here: here.patch(THEIRS)
    )
    node.patch({"environments": {"prod": {"default": "x"}}})
    with pytest.raises(VariantInUse):
        resolve_conflict(node, record.id, {"choose": parked_of(record)})


def test_each_object_of_a_parked_change_is_answered_for_itself() -> None:
    returner = Returner(FLAG, {"key": "g", "type": "boolean"})
    operations = [{"op": "patch", "flag": key, "patch": MINE} for key in "fg"]
    away, here = returner.away, returner.here
    away.take(change_set(away, {"operations": operations}, new_id=away.new_id).intent)
    here.patch(THEIRS)
    returner.back()
    [of_f, of_g] = here.conflicts()
    resolve(here, of_g, choose=parked_of(of_g))
    assert here.conflicts() == [of_f]
    assert (here.flag("f")["owner"], here.flag("g")["owner"]) == ("theirs", "mine")


def test_a_value_that_cannot_be_read_can_only_be_dismissed() -> None:
    returner = Returner(FLAG)
    returner.away.patch(MINE)
    [change] = returner.old
    change.operations = tuple(
        o._replace(payload=b"\xc1") if o.field == "owner" else o for o in change.operations
    )
    node = returner.back().here
    [record] = node.conflicts()
    with pytest.raises(Invalid):
        resolve_conflict(node, record.id, {"choose": parked_of(record)})
    resolve(node, record, choose=record.winner)
    assert node.conflicts() == []


def test_a_parked_eviction_is_not_done_by_an_answer() -> None:
    returner = Returner()
    evicted = CellWrite("member/eu-1", NO_GENERATION, "evicted/00000000000000aa", {"by": "ada"})
    returner.away.write(evicted)
    node = returner.back().here
    [record] = node.conflicts()
    with pytest.raises(Invalid):
        resolve_conflict(node, record.id, {"choose": parked_of(record)})
    resolve(node, record, value=None)
    assert node.conflicts() == []
