"""What a simulated slot had under an earlier registration: its disk, laid aside, its last row, and the log behind that.

The disk of a returned slot is a new one; its region's store is the same, so the slot begins there with a row that is
newer than the old one and says that nothing is here. Checkpoints of the old row are not used again: what was on its way
to them may land late.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

import trio

from vexil.chaos.world.process_life import ProcessLife
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.node.region_writer import CHECKPOINTS_OF_A_START
from vexil.node.seams import LogRecord, MemberRow

BATCH_RECORDS: Final = 100


class SimulatedArchive:
    """``Archive`` of one disk; ``let_go`` is called once when it is discarded."""

    def __init__(
        self,
        disk: SimulatedDisk,
        row: MemberRow | None,
        slot: str,
        *,
        let_go: Callable[[], None],
        store: SimulatedRegion | None = None,
    ) -> None:
        """``store`` has what ``row`` says: a disk that was put back as it once was has less."""
        self.slot = slot
        self.registration = "" if row is None else row.registration
        self.disk = disk
        self.life = ProcessLife()
        """Of the process that reads it."""
        self._row = row
        self._let_go = let_go
        self._stored = [] if row is None or store is None else _stored(store, row)

    @property
    def damaged(self) -> int:
        """``Archive.damaged``: a simulated disk loses no row that it kept."""
        return 0

    async def row(self) -> MemberRow | None:
        """``Archive.row``."""
        with self.life.step("archive row"):
            await self.life.check()
            await trio.lowlevel.checkpoint()
        return self._row

    def safe_records(self) -> Iterator[LogRecord]:
        """Every record, causes before effects: what the row says is closed under causes."""
        yield from self._stored
        known = set(self._stored)
        for record in SimulatedJournal(self.disk, self.life).records:
            if record not in known:
                yield record

    async def records(self) -> AsyncIterator[Sequence[LogRecord]]:
        """``Archive.records``."""
        records = list(self.safe_records())
        for start in range(0, len(records), BATCH_RECORDS):
            with self.life.step("archive records"):
                await self.life.check()
                await trio.lowlevel.checkpoint()
            yield records[start : start + BATCH_RECORDS]

    async def discard(self) -> None:
        """``Archive.discard``."""
        with self.life.step("archive discard"):
            await self.life.check()
            await trio.lowlevel.checkpoint()
            self._let_go()


def _stored(store: SimulatedRegion, row: MemberRow) -> list[LogRecord]:
    return [
        record
        for project, vv in row.vv.items()
        for record in store.log.whole(project)
        if record.seq <= vv.get(record.incarnation, 0)
    ]


def row_of_nothing(old: MemberRow) -> MemberRow:
    """The first row of a slot that begins anew where ``old`` is its last one."""
    start = old.start + 1
    checkpoint = start * CHECKPOINTS_OF_A_START
    return MemberRow(
        old.slot,
        start=start,
        revision=0,
        incarnation=old.incarnation,
        checkpoint=dict.fromkeys({*old.checkpoint, *old.vv, *old.fold}, checkpoint),
    )
