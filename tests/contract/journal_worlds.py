"""What the journal suite needs of an implementation: to start, crash, tear, fill."""

from __future__ import annotations

import copy
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.contract.rows import causes_of_row
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import Journal


class JournalWorld(Protocol):
    async def start(self) -> Journal:
        """A fresh process on the disk as it is."""

    async def crash(self) -> None:
        """End the process without letting it finish or close anything."""

    def mark(self) -> None:
        """The next append is the last one, which ``torn`` cuts. The process is up."""

    def cuts(self) -> Sequence[int]:
        """Lengths in bytes to cut the last append down to. The process is down."""

    def torn(self, keep_bytes: int) -> JournalWorld:
        """A copy of the disk on which the last append is cut down. The process is down."""

    def fill(self) -> None:
        """No further append fits. The process is up."""

    def free(self) -> None:
        """Undo ``fill``."""

    async def close(self) -> None:
        """End what runs."""


class SqliteJournalWorld:
    """A crash leaves a copy of the files as they are on the disk, without the shared-memory index."""

    def __init__(self, base: Path, folder: Path | None = None) -> None:
        self._base = base
        self._folder = folder or Path(tempfile.mkdtemp(dir=base))
        self._store: SqliteStore | None = None
        self._whole_bytes = 0

    async def start(self) -> SqliteStore:
        assert self._store is None
        self._store = await SqliteStore.aopen(self._folder / "node.sqlite", causes=causes_of_row)
        return self._store

    async def crash(self) -> None:
        left = self._copy()
        await self.close()
        self._folder = left

    def mark(self) -> None:
        self._whole_bytes = self._wal(self._folder).stat().st_size

    def cuts(self) -> Sequence[int]:
        # Each cut costs a start: not every byte, but some in every part, and both sides of each border.
        size, frame_bytes, header_bytes = (
            self._wal(self._folder).stat().st_size - self._whole_bytes,
            4096 + 24,
            24,
        )
        assert size > frame_bytes
        borders = {
            n + d for n in range(0, size, frame_bytes) for d in (-1, 0, 1, header_bytes - 1, header_bytes)
        }
        return sorted(cut for cut in borders | set(range(0, size, 509)) | {size - 1} if 0 <= cut < size)

    def torn(self, keep_bytes: int) -> SqliteJournalWorld:
        folder = self._copy()
        with self._wal(folder).open("r+b") as file:
            file.truncate(self._whole_bytes + keep_bytes)
        return SqliteJournalWorld(self._base, folder)

    def fill(self) -> None:
        assert self._store is not None
        pages = self._store._writer.execute("PRAGMA page_count").fetchone()[0]
        self._store._writer.execute(f"PRAGMA max_page_count = {pages}")

    def free(self) -> None:
        assert self._store is not None
        self._store._writer.execute("PRAGMA max_page_count = 1000000000")

    async def close(self) -> None:
        if self._store is not None:
            await self._store.aclose()
            self._store = None

    def _copy(self) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self._base))
        for name in ("node.sqlite", "node.sqlite-wal"):
            if (self._folder / name).exists():
                shutil.copyfile(self._folder / name, folder / name)
        return folder

    @staticmethod
    def _wal(folder: Path) -> Path:
        return folder / "node.sqlite-wal"


class SimulatedJournalWorld:
    def __init__(self, disk: SimulatedDisk | None = None) -> None:
        self._disk = disk or SimulatedDisk(random.Random(0))
        self._journal: SimulatedJournal | None = None

    async def start(self) -> SimulatedJournal:
        assert self._journal is None
        self._journal = SimulatedJournal(self._disk, causes=causes_of_row)
        return self._journal

    async def crash(self) -> None:
        await self.close()
        self._disk.crash()

    def mark(self) -> None:
        pass

    def cuts(self) -> Sequence[int]:
        return range(len(self._disk.read()[-1]))

    def torn(self, keep_bytes: int) -> SimulatedJournalWorld:
        disk = copy.deepcopy(self._disk)
        disk.tear(keep_bytes)
        return SimulatedJournalWorld(disk)

    def fill(self) -> None:
        self._disk.fill()

    def free(self) -> None:
        self._disk.free()

    async def close(self) -> None:
        if self._journal is not None:
            self._journal.kill()
            self._journal = None
