"""Which parts of cells go, and the minimal histories in which collecting too early brings something back."""

from __future__ import annotations

import pytest

from tests.property.nodes import Node, World, cluster, heal
from vexil.crdt import cell as cells
from vexil.crdt import payload as payloads
from vexil.crdt import version_vector
from vexil.crdt.cell import EMPTY
from vexil.crdt.change import NO_GENERATION, decode
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.garbage import FoldRemoval, collected
from vexil.crdt.hlc import pack
from vexil.crdt.materialise import read_flag
from vexil.crdt.merge import BelowFloor, Merge, fits
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import EXISTS, Replica
from vexil.crdt.schema import RETIRED_OBJECT, REVOKED, key_object, retired_field

FLAG = "flag/f"
VALUE = payloads.encode("ann", True)
GONE = payloads.tombstone("ann")


def written(*writes: tuple[tuple[int, int], bytes, list[tuple[int, int]]]) -> bytes:
    cell = EMPTY
    for dot, payload, replaced in writes:
        cell = cells.write(cell, dot=dot, hlc=dot[1], payload=payload, replaced=replaced)
    return cell


def after(cell: bytes, stable: dict[int, int], *, removable: bool = True) -> tuple[bytes, dict[int, int]]:
    found = collected(cell, lambda i, seq: stable.get(i, 0) >= seq, removable=removable)
    return found.packed, dict(found.removals)


# -- one cell


def test_a_replaced_lane_goes_when_the_change_that_replaced_it_is_stable() -> None:
    cell = written(((1, 1), VALUE, []), ((2, 5), VALUE, [(1, 1)]))
    assert after(cell, {1: 1, 2: 5}) == (written(((2, 5), VALUE, [])), {1: 1})
    assert after(cell, {1: 1, 2: 4}) == (cell, {}), "that the hidden dot is stable is not enough"
    assert after(cell, {2: 5}) == (cell, {})


def test_of_a_lane_that_was_written_again_only_the_seen_part_goes() -> None:
    cell = written(((1, 1), VALUE, []), ((2, 5), VALUE, [(1, 1)]), ((1, 3), VALUE, [(2, 5)]))
    kept, removals = after(cell, {1: 2, 2: 5})
    assert removals == {1: 1}, "a timestamp that leaves the lane of seq 3 alone"
    assert cells.live(kept) == cells.live(cell)
    assert [entry.incarnation for entry in cells.seen(kept)] == [2]


def test_a_cell_that_only_says_removed_goes_as_a_whole_or_not_at_all() -> None:
    cell = written(((1, 1), VALUE, []), ((2, 5), GONE, [(1, 1)]), ((3, 2), GONE, []))
    assert after(cell, {1: 1, 2: 5, 3: 2}) == (EMPTY, {1: 1, 2: 5, 3: 2})
    kept, removals = after(cell, {1: 1, 2: 5, 3: 1})
    assert removals == {1: 1}
    assert cells.live(kept) == cells.live(cell), "one of the two is not stable: both stay"
    assert after(cell, {1: 1, 2: 5, 3: 2}, removable=False)[1] == {1: 1}


def test_what_was_replaced_before_it_came_goes_with_its_seen_part() -> None:
    """A late writer has said again what had been collected here: there is no lane to that any more."""
    cell = written(((2, 5), GONE, [(1, 4)]))
    assert after(cell, {1: 4, 2: 5}) == (EMPTY, {1: 4, 2: 5})
    assert after(cell, {1: 4, 2: 5}, removable=False) == (written(((2, 5), GONE, [])), {1: 4})


def test_a_tombstone_beside_a_value_stays() -> None:
    cell = written(((1, 1), GONE, []), ((2, 1), VALUE, []))
    assert after(cell, {1: 9, 2: 9}) == (cell, {})


# -- one object


def stable_of(*nodes: Node) -> dict[int, int]:
    """The least of what the nodes have, as they tell each other."""
    vvs = [node.replica.vv for node in nodes]
    return {i: least for i in vvs[0] if (least := min(vv.get(i, 0) for vv in vvs))}


def collect(node: Node, stable: dict[int, int]) -> list[FoldRemoval]:
    node.replica.advance_floor(stable)
    root = node.replica.root
    found = [removal for name in list(node.replica.objects) for removal in node.replica.collect(name, stable)]
    assert node.replica.root == root == node.replica.recomputed_root()
    return found


def test_a_deleted_generation_goes_with_all_its_cells_and_leaves_the_kill() -> None:
    [a] = cluster(1)
    a.create(FLAG, fields={"description": "x", "tag/y": True})
    a.write(a.kill_of(FLAG, on=True))
    a.write(a.delete_of(FLAG))
    assert {removal.field for removal in collect(a, {1: 3})} == {EXISTS, "description", "tag/y"}
    assert list(a.replica.cells(FLAG)) == [NO_GENERATION]
    assert collect(a, {1: 3}) == []


def test_a_deleted_generation_waits_for_the_last_of_its_cells() -> None:
    a, b = cluster(1, 2)
    created = a.create(FLAG, fields={"description": "x"})
    b.pull(a)
    b.write(b.edit_of(FLAG, {"tag/late": True}))
    b.write(b.delete_of(FLAG))
    a.pull(b)
    assert {r.field for r in collect(a, {1: 1, 2: 1})} == {EXISTS}, "the replaced existence lane alone"
    assert EXISTS in a.replica.cells(FLAG)[created.dot]
    collect(a, {1: 1, 2: 2})
    assert a.replica.cells(FLAG) == {}
    assert FLAG not in a.replica.objects


def test_a_revocation_is_kept_whatever_was_written_over_it() -> None:
    """It is read by every lane, dead or alive: what takes the last one away would give the key back."""
    [a] = cluster(1)
    name = key_object("k1")
    a.write([CellWrite(name, NO_GENERATION, REVOKED, True)])
    a.write([CellWrite(name, NO_GENERATION, REVOKED, TOMBSTONE)])
    assert collect(a, {1: 2}) == []
    assert cells.lanes(a.replica.cell(name, NO_GENERATION, REVOKED))


@pytest.mark.parametrize("way", ["the change", "the state into the old", "the old state into it"])
@pytest.mark.parametrize("retired", [False, True])
def test_a_write_of_one_who_has_collected_the_removal_is_no_conflict_with_it(way: str, retired: bool) -> None:
    """Its author has no tombstone any more that it could say to replace; the others still have."""
    a, b = cluster(7, 2)
    a.create(FLAG, fields={"description": "x", "tag/t": True})
    a.write(a.edit_of(FLAG, {"tag/t": TOMBSTONE}))
    b.pull(a)
    stable = stable_of(a, b)
    if retired:
        a.restart(1)
        a.write([CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(7), 2)])
        b.pull(a)
        stable = {}
    collect(b, stable)
    b.write(b.edit_of(FLAG, {"tag/t": True}))
    match way:
        case "the change":
            a.pull(b)
        case "the state into the old":
            Merge(a.replica, b.replica).finish()
        case _:
            Merge(b.replica, a.replica).finish()
            a = b
    states = [read_flag("f", node.replica.cells(FLAG), ("prod",)) for node in (a, b)]
    assert states[0] == states[1]
    assert states[0] is not None
    assert states[0].tags == ("t",)
    assert states[0].conflicts == ()


@pytest.mark.parametrize("way", ["the change", "the state into the other", "the other state into it"])
def test_a_write_that_had_not_seen_the_removal_stays_a_conflict_with_it(way: str) -> None:
    a, b = cluster(1, 2)
    a.create(FLAG, fields={"tag/t": True})
    b.pull(a)
    collect(b, stable_of(a, b))
    a.write(a.edit_of(FLAG, {"tag/t": TOMBSTONE}))
    b.write(b.edit_of(FLAG, {"tag/t": True}))
    match way:
        case "the change":
            a.pull(b)
        case "the state into the other":
            Merge(a.replica, b.replica).finish()
        case _:
            Merge(b.replica, a.replica).finish()
            a = b
    state = read_flag("f", a.replica.cells(FLAG), ("prod",))
    assert state is not None
    assert len(state.conflicts) == 1


# -- minimal histories of the model


def three() -> tuple[World, list[Node]]:
    nodes = cluster(1, 2, 3)
    nodes[0].create(FLAG, fields={"description": "x"})
    heal(*nodes)
    return nodes[0].world, nodes


@pytest.mark.parametrize("own_vector_covers", [True, False])
def test_who_collects_must_have_all_that_he_was_told_of(own_vector_covers: bool) -> None:
    """gchead: an edit that had not seen the delete is known to all but the collector; it must bring the flag back."""
    _, (a, b, c) = three()
    edit = b.write(b.edit_of(FLAG, {"description": "late"}))
    deleted = a.write(a.delete_of(FLAG))
    b.offer(deleted.dot)
    c.offer(deleted.dot)
    stable = stable_of(a, b, c)
    if own_vector_covers:
        assert not c.replica.covers(b.replica.vv), "so this node does not collect yet"
    else:
        collect(c, stable)
        assert c.replica.verdict(edit) is Verdict.BELOW_FLOOR, "and if it did, the edit would be noticed"
        return
    c.offer(edit.dot)
    a.offer(edit.dot)
    for node in (a, b, c):
        collect(node, stable_of(a, b, c))
        assert read_flag("f", node.replica.cells(FLAG), ("prod",)) is not None
    assert len({node.replica.root for node in (a, b, c)}) == 1


def test_a_change_of_someone_who_was_evicted_before_he_heard_of_the_delete_is_noticed() -> None:
    """evstable: the others have collected without him; what he wrote meanwhile must not revive half a flag."""
    _, (a, b, c) = three()
    edit = c.write(c.edit_of(FLAG, {"description": "late"}))
    a.write(a.delete_of(FLAG))
    b.pull(a)
    collect(a, stable_of(a, b))
    before = a.replica.header()
    assert b.replica.verdict(edit) is Verdict.NEXT, "this one has collected nothing"
    assert a.replica.verdict(edit) is Verdict.BELOW_FLOOR
    assert a.replica.header() == before


def test_a_state_from_before_the_delete_cannot_be_joined_into_one_that_collected_it() -> None:
    """floor: a region that goes back to its backup would bring back what all others have forgotten."""
    _, (a, b, c) = three()
    backup = Replica.load(c.replica.header(), [])
    for name, generations in c.replica.objects.items():
        for generation, fields in generations.items():
            backup.fields(name, generation).update(fields)
    a.write(a.delete_of(FLAG))
    heal(a, b, c)
    for node in (a, b, c):
        collect(node, stable_of(a, b, c))
    assert not fits(a.replica, backup.header())
    with pytest.raises(BelowFloor):
        Merge(a.replica, backup)
    assert not fits(backup, a.replica.header())
    with pytest.raises(BelowFloor):
        Merge(backup, a.replica)


# -- the floor


def test_what_an_author_is_known_to_have_seen_is_asked_again_when_the_floor_moves() -> None:
    a, b = cluster(1, 2)
    a.create(FLAG)
    b.pull(a)
    collect(a, {1: 1})
    first = b.write(b.kill_of(FLAG, on=True))
    assert a.offer(first.dot) is Verdict.NEXT
    a.write(a.kill_of(FLAG, on=False))
    a.replica.advance_floor({1: 2})
    unaware = b.write(b.kill_of(FLAG, on=True))
    assert a.replica.verdict(unaware) is Verdict.BELOW_FLOOR
    assert version_vector.covers(a.replica.floor, {1: 2})


def test_what_was_retired_on_the_other_branch_of_a_fork_is_not_missed_in_a_past() -> None:
    a, copied, before = cluster(1, 9, 6)
    a.create(FLAG)
    first = copied.write([CellWrite("flag/g", NO_GENERATION, "f", 1)])
    a.offer(first.dot)
    before.offer(first.dot)
    a.replica.advance_floor({1: 1})
    copied.pull(a)
    copied.write([CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(1), 1)])
    assert copied.replica.retired == {1: 1}
    g = [CellWrite("flag/g", NO_GENERATION, "f", 2)]
    goes_on = Pen(copied.replica, 10).write(g, hlc=pack(9), author="ann")
    assert Frontier(a.replica).verdict(goes_on) is Verdict.WAITING
    assert Frontier(a.replica, {9}).verdict(goes_on) is Verdict.NEXT
    unaware = Pen(before.replica, 11).write(g, hlc=pack(9), author="ann")
    assert Frontier(a.replica, {9}).verdict(unaware) is Verdict.BELOW_FLOOR


def test_the_floor_never_goes_down_and_is_in_the_header() -> None:
    [a] = cluster(1)
    for on in (True, False, True):
        a.write(a.kill_of(FLAG, on=on))
    a.replica.advance_floor({1: 2})
    a.replica.advance_floor({1: 1})
    assert Replica.load(a.replica.header(), []).floor == a.replica.floor == {1: 2}
    assert decode(a.world.log[1, 1].raw).seq == 1
