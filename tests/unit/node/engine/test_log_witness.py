"""Only a row that fits its incarnation's hash chain decides what a cell must be, whoever has sent it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.mending import Address
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node import log_witness
from vexil.node.gossip import messages
from vexil.node.gossip.messages import Message
from vexil.node.log_witness import LogWitness, TooManyRows
from vexil.node.own_log import OwnLog
from vexil.node.project import Project
from vexil.node.seams import HistoryRow, LogRecord, PeerNonsense, PeerRefused

NAME = "x/1"
ADDRESS = Address(NAME, NO_GENERATION, "f")
AUTHOR = 7


class Log:
    """The own log, as a test wants it."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self.rows = list(changes)
        self.pages = 0

    async def read(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        return [
            LogRecord(project, c.incarnation, c.seq, c.raw)
            for c in self.rows
            if after.get(c.incarnation, 0) < c.seq <= through.get(c.incarnation, 0)
        ]

    async def read_history(self, project: str, *, before: str | None, limit: int) -> Sequence[HistoryRow]:
        self.pages += 1
        end = len(self.rows) if before is None else int(before)
        return [HistoryRow(str(at), self.rows[at].raw) for at in range(end - 1, max(-1, end - 1 - limit), -1)]


class World:
    """A state of some changes, and a peer that answers pulls."""

    def __init__(self, count: int = 5) -> None:
        self.replica = Replica()
        self.changes = [self._write(number) for number in range(count)]
        self.log = Log(self.changes)
        self.peer: list[bytes] = []
        self.asked = 0
        self.refuses = False
        project = Project("shop", self.replica, on_defect=lambda *_: None)
        self.witness = LogWitness(cast(OwnLog, self.log), project, self.ask, self.replica.known)

    def _write(self, number: int) -> Change:
        pen = Pen(self.replica, AUTHOR)
        change = pen.write([CellWrite(NAME, NO_GENERATION, "f", number)], hlc=number + 1, author="a")
        self.replica.apply(change)
        return change

    def forged(self, seq: int) -> Change:
        """A well-formed change of the same dot that nobody has written."""
        other = Replica()
        forged = None
        for number in range(seq):
            forged = Pen(other, AUTHOR).write(
                [CellWrite(NAME, NO_GENERATION, "f", "forged")], hlc=number + 1, author="b"
            )
            other.apply(forged)
        assert forged is not None
        return forged

    async def ask(self, method: str, members: Mapping[str, object]) -> Message:
        self.asked += 1
        assert method == "pull"
        if self.refuses:
            raise PeerRefused("node.log_unavailable")
        answer: Any = {"changes": self.peer, "more": False, "reached": []}
        return Message.decode(messages.encode(answer))


async def test_the_own_row_decides_and_nobody_is_asked() -> None:
    world = World()
    for change in world.changes:
        assert await world.witness.row(change.dot) == change
    assert world.asked == 0


@pytest.mark.parametrize("seq", [1, 3, 5])
async def test_a_row_that_does_not_fit_the_chain_is_passed_over(seq: int) -> None:
    world = World()
    true = world.changes[seq - 1]
    world.log.rows[seq - 1] = world.forged(seq)
    world.peer = [world.forged(seq).raw, b"junk", true.raw]
    assert await world.witness.row(true.dot) == true
    assert world.asked == 1
    world = World()
    world.log.rows[seq - 1] = world.forged(seq)
    world.peer = [world.forged(seq).raw]
    assert await world.witness.row(true.dot) is None


async def test_of_a_fork_the_row_of_our_branch_decides() -> None:
    world = World()
    world.log.rows.insert(0, world.forged(3))
    assert await world.witness.row((AUTHOR, 3)) == world.changes[2]


async def test_a_peer_that_has_no_log_or_answers_something_else_is_no_witness() -> None:
    world = World()
    world.log.rows.clear()
    world.peer = [world.changes[0].raw, b"junk"]
    assert await world.witness.row((AUTHOR, 2)) is None
    world.refuses = True
    assert await world.witness.row((AUTHOR, 3)) is None
    world.refuses = False
    world.peer = cast(list[bytes], ["a text"])
    with pytest.raises(PeerNonsense):
        await world.witness.row((AUTHOR, 4))


async def test_of_what_the_state_does_not_know_there_is_no_row() -> None:
    world = World()
    for dot in ((AUTHOR, 6), (AUTHOR, 0), (99, 1)):
        assert await world.witness.row(dot) is None
    assert world.asked == 0


async def test_a_peer_is_asked_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_witness, "ASKED_MAX", 2)
    world = World()
    world.log.rows.clear()
    for seq in (1, 2):
        await world.witness.row((AUTHOR, seq))
    with pytest.raises(TooManyRows):
        await world.witness.row((AUTHOR, 3))


async def test_later_rows_are_looked_at_down_to_the_lane_and_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_witness, "SCAN_ROWS", 2)
    world = World(20)
    facts = await world.witness.later({ADDRESS: {(AUTHOR, 15)}})
    assert facts == {ADDRESS: world.replica.cell(*ADDRESS)}
    assert world.log.pages == 3
    assert await world.witness.later({}) == {}


async def test_a_scan_ends_where_the_log_ends_or_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(20)
    world.log.rows = world.log.rows[10:]
    facts = await world.witness.later({ADDRESS: {(AUTHOR, 1)}})
    assert facts == {ADDRESS: world.replica.cell(*ADDRESS)}
    monkeypatch.setattr(log_witness, "SCAN_ROWS", 2)
    monkeypatch.setattr(log_witness, "SCANNED_MAX", 4)
    world = World(20)
    await world.witness.later({ADDRESS: {(AUTHOR, 1)}})
    assert world.log.pages == 2
