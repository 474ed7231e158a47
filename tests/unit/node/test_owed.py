"""What a slot had announced and cannot load: it must come back from peers before the slot takes writes."""

from __future__ import annotations

from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.seams import MemberRow
from vexil.node.startup import Loaded, owed

SLOT = 7


def loaded_with(changes: int, announced: int) -> Loaded:
    replica = Replica()
    pen = Pen(replica, SLOT)
    for number in range(changes):
        write = CellWrite(f"flag/f{number}", NEW_GENERATION, "exists", {"epoch": 1, "type": "boolean"})
        replica.apply(pen.write([write], hlc=number + 1, author="ann"))
    row = MemberRow("eu-1", start=1, revision=1, incarnation=SLOT, vv={"shop": {SLOT: announced}})
    return Loaded(row, {"shop": replica})


def test_a_log_that_lost_a_part_owes_it() -> None:
    assert owed(loaded_with(1, announced=3)) == {"shop": {SLOT: 3}}


def test_a_whole_log_owes_nothing_and_neither_does_a_new_slot() -> None:
    assert owed(loaded_with(3, announced=3)) == {}
    assert owed(loaded_with(4, announced=3)) == {}
    assert owed(Loaded(None)) == {}
