"""What of a log a peer can use: rows that fit on what it has, and whether it knows who has been retired."""

from __future__ import annotations

import pytest

from tests.unit.node.engine.world import SHOP, Stranger
from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.schema import RETIRED_OBJECT, retired_field
from vexil.node.gossip.log_reach import RetiredKnowledge, applicable
from vexil.node.seams import LogRecord

A, B, C = 0xA, 0xB, 0xC


def record(change: Change) -> LogRecord:
    return LogRecord(SHOP, change.incarnation, change.seq, change.raw)


class Author(Stranger):
    """A stranger who may go on under another incarnation, and end one."""

    def become(self, incarnation: int) -> None:
        self.pen = Pen(self.replica, incarnation)

    def retire(self, incarnation: int) -> Change:
        final = self.replica.vv[incarnation]
        return self.write([CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(incarnation), final)])


def history() -> Author:
    """A writes twice, B retires A, C retires B and writes."""
    author = Author(A)
    author.create("one")
    author.create("two")
    author.become(B)
    author.create("three")
    author.retire(A)
    author.become(C)
    author.retire(B)
    author.create("four")
    assert author.replica.retired == {A: 2, B: 2}
    return author


def test_rows_behind_a_gap_do_not_fit() -> None:
    rows = [record(change) for change in history().log]
    assert list(applicable(rows, {}, ())) == rows
    assert list(applicable(rows[1:], {}, ())) == []
    assert list(applicable(rows[1:], {A: 1}, ())) == rows[1:]
    assert list(applicable([rows[0], *rows[2:]], {}, ())) == rows[:1]
    assert list(applicable(rows[2:], {}, (A,))) == rows[2:]


@pytest.mark.parametrize("have", [{B: 2}, {C: 1}, {C: 2}, {A: 2, B: 2}])
def test_who_has_the_retirement_or_all_the_changes_lacks_nothing(have: dict[int, int]) -> None:
    assert RetiredKnowledge().completed(history().replica, have) == {A: 2, B: 2, **have}


def test_who_lacks_changes_of_a_retired_incarnation_is_told_so() -> None:
    knowledge = RetiredKnowledge()
    replica = history().replica
    for have in ({}, {A: 1}, {A: 2}, {A: 2, B: 1}, {B: 1}):
        assert knowledge.completed(replica, have) is None
