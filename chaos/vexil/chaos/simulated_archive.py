"""What a simulated slot had under an earlier registration: its disk, laid aside, and its last row.

The disk of a returned slot is a new one; its region's store is the same, so the slot begins there with a row that is
newer than the old one and says that nothing is here. Checkpoints of the old row are not used again: what was on its way
to them may land late.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import trio

from vexil.chaos.process_life import ProcessLife
from vexil.chaos.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.node.region_writer import CHECKPOINTS_OF_A_START
from vexil.node.seams import LogRecord, MemberRow

BATCH_RECORDS: Final = 100


class SimulatedArchive:
    """``Archive`` of one disk; ``let_go`` is called once when it is discarded."""

    def __init__(
        self, disk: SimulatedDisk, row: MemberRow | None, slot: str, *, let_go: Callable[[], None]
    ) -> None:
        self.slot = slot
        self.registration = "" if row is None else row.registration
        self.disk = disk
        self.life = ProcessLife()
        """Of the process that reads it."""
        self._row = row
        self._let_go = let_go

    @property
    def damaged(self) -> int:
        """``Archive.damaged``: a simulated disk loses no row that it kept."""
        return 0

    async def row(self) -> MemberRow | None:
        """``Archive.row``."""
        await self.life.check()
        await trio.lowlevel.checkpoint()
        return self._row

    async def records(self) -> AsyncIterator[Sequence[LogRecord]]:
        """``Archive.records``, in the order of appending."""
        records = SimulatedJournal(self.disk, self.life).records
        for start in range(0, len(records), BATCH_RECORDS):
            await self.life.check()
            await trio.lowlevel.checkpoint()
            yield records[start : start + BATCH_RECORDS]

    async def discard(self) -> None:
        """``Archive.discard``."""
        await self.life.check()
        await trio.lowlevel.checkpoint()
        self._let_go()


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
