"""A simulated disk and the journal on it: what was not synced before a crash is lost, kept, or torn.

The disk outlives processes; a journal belongs to one. An append is one frame with a checksum, so that it is there
whole or not at all. Time is ``trio.sleep`` and chance is the injected generator: same seed, same history.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import msgpack
import trio

from vexil.chaos.world.process_life import ProcessLife
from vexil.chaos.world.simulated_log import SimulatedLog
from vexil.node.causal_order import Causes, causes_of
from vexil.node.seams import JournalFull, JournalIndeterminate, LogRecord

REPLAY_ROWS_MAX: Final = 1_000
_CHECKSUM_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class DiskFaults:
    """How a disk misbehaves. Probabilities are per event, in 0…1; the defaults are a perfect disk."""

    sync_ms_max: float = 0.0
    """A sync takes from nothing up to this, evenly."""
    sync_fails: float = 0.0
    """A sync reports an error: its appends are indeterminate and the journal takes no more."""
    crash_keeps: float = 0.0
    """After a crash the frames that were not synced are on the disk all the same."""
    crash_tears: float = 0.0
    """Else: some of them are, and the next one in part. Else none is."""


class SimulatedDisk:
    """The frames of one data folder: synced ones, and those that a crash may take."""

    def __init__(
        self, rng: random.Random, faults: DiskFaults | None = None, *, fired: Counter[str] | None = None
    ) -> None:
        """An empty disk. ``fired`` counts how often each of ``faults`` has struck, as ``disk.<its name>``."""
        self.rng = rng
        self.faults = faults if faults is not None else DiskFaults()
        self.fired: Counter[str] = Counter() if fired is None else fired
        self.full = False
        self._frames: list[bytes] = []
        self._synced = 0

    @property
    def frames(self) -> int:
        """How many frames there are, synced or not."""
        return len(self._frames)

    @property
    def synced(self) -> int:
        """How many frames a crash cannot take."""
        return self._synced

    def read(self) -> Sequence[bytes]:
        """Every frame in order, torn and damaged ones too."""
        return tuple(self._frames)

    def safe_records(self) -> Iterator[LogRecord]:
        """Every record that a crash cannot take."""
        for frame in self._frames[: self._synced]:
            yield from _unframe(frame) or ()

    def write(self, frame: bytes) -> None:
        """Add a frame that is not synced yet. The caller has looked at ``full``."""
        self._frames.append(frame)

    def sync(self, through: int) -> None:
        """Make the first ``through`` frames safe from crashes."""
        self._synced = max(self._synced, min(through, len(self._frames)))

    def rewrite(self, frame: int, content: bytes) -> None:
        """Put other bytes in the place of a frame; none take the frame out. Done or not done, never torn."""
        if content:
            self._frames[frame] = content
        else:
            del self._frames[frame]
            self._synced -= frame < self._synced

    def drop_last(self) -> None:
        """Remove the last frame: a process that starts cuts off a torn one."""
        self._frames.pop()
        self._synced = min(self._synced, len(self._frames))

    def crash(self) -> None:
        """The machine or process stops: decide what becomes of the frames that are not synced."""
        unsynced = self._frames[self._synced :]
        del self._frames[self._synced :]
        chance = self.rng.random()
        if not unsynced:
            return
        if chance < self.faults.crash_keeps:
            self.fired["disk.crash_keeps"] += 1
            self._frames += unsynced
        elif chance < self.faults.crash_keeps + self.faults.crash_tears:
            self.fired["disk.crash_tears"] += 1
            whole = self.rng.randrange(len(unsynced))
            self._frames += unsynced[:whole]
            self._frames.append(unsynced[whole][: self.rng.randrange(len(unsynced[whole]))])
        self._synced = len(self._frames)

    def fill(self) -> None:
        """No append fits any more, until ``free``."""
        self.full = True

    def free(self) -> None:
        """Undo ``fill``."""
        self.full = False

    def copied(self, rng: random.Random) -> SimulatedDisk:
        """A copy of what a crash cannot take; it draws from ``rng``."""
        twin = SimulatedDisk(rng, self.faults, fired=self.fired)
        twin._frames = self._frames[: self._synced]
        twin._synced = self._synced
        return twin

    def wipe(self) -> None:
        """The disk is lost and an empty one is in its place."""
        self._frames.clear()
        self._synced = 0
        self.full = False

    def tear(self, keep_bytes: int) -> None:
        """Cut the last frame down to its first bytes, as a crash may."""
        self._frames[-1] = self._frames[-1][:keep_bytes]

    def flip_byte(self, frame: int, byte: int) -> None:
        """Damage a frame, as an aging disk may."""
        damaged = bytearray(self._frames[frame])
        damaged[byte] ^= 0xFF
        self._frames[frame] = bytes(damaged)


class SimulatedJournal:
    """``Journal`` of one process on a SimulatedDisk. Making one is what a start does: a torn last frame is cut off."""

    def __init__(
        self, disk: SimulatedDisk, life: ProcessLife | None = None, *, causes: Causes = causes_of
    ) -> None:
        self.life = life if life is not None else ProcessLife()
        self.damaged_frames = 0
        self._disk = disk
        self._records: list[LogRecord] = []
        self._sync_turn = trio.Lock()
        self._sealed = False
        self._known: set[LogRecord] = set()
        self._causes = causes
        self._log = SimulatedLog(causes)
        self._load()

    @property
    def records(self) -> Sequence[LogRecord]:
        """Every record that is in it, in append order."""
        return tuple(self._records)

    def kill(self) -> None:
        """The process is dead: this journal never writes again."""
        self.life.kill()

    async def append(self, records: Sequence[LogRecord]) -> None:
        """``Journal.append``. Raises ProcessDead if the process is killed meanwhile."""
        with self.life.step("journal append"):
            await self._append(records)

    async def _append(self, records: Sequence[LogRecord]) -> None:
        await self.life.check()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._sealed:
            raise JournalIndeterminate("an earlier sync failed")
        fresh = [record for record in dict.fromkeys(records) if record not in self._known]
        if fresh:
            if self._disk.full:
                await trio.lowlevel.checkpoint()
                raise JournalFull("the simulated disk is full")
            self._disk.write(_frame(fresh))
            self._keep(fresh)
        with trio.CancelScope(shield=True), self.life.step("journal sync"):
            await self._sync(self._disk.frames)
        await self.life.check()

    async def replay(self, *, after: Mapping[str, Mapping[int, int]]) -> AsyncGenerator[Sequence[LogRecord]]:
        """``Journal.replay``; damaged frames are left out (``damaged_frames``)."""
        uncovered = [r for r in self._records if r.seq > after.get(r.project, {}).get(r.incarnation, 0)]
        for start in range(0, len(uncovered), REPLAY_ROWS_MAX):
            with self.life.step("journal replay"):
                await self.life.check()
                await trio.lowlevel.checkpoint()
            yield uncovered[start : start + REPLAY_ROWS_MAX]

    async def read_changes(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """``Journal.read_changes``."""
        with self.life.step("journal read"):
            await self.life.check()
            await trio.lowlevel.checkpoint()
        return self._log.page(project, after, through, limit_bytes)

    async def trim(self, project: str, through: Mapping[int, int]) -> None:
        """``Journal.trim``: frame by frame, the oldest first; what is not synced yet stays."""
        with self.life.step("journal trim"):
            await self._trim(project, through)

    async def _trim(self, project: str, through: Mapping[int, int]) -> None:
        await self.life.check()

        def stays(record: LogRecord) -> bool:
            return record.project != project or record.seq > through.get(record.incarnation, 0)

        async with self._sync_turn:
            try:
                await self._trim_frames(stays)
            finally:
                # Cancelled or dead: what is on the disk counts.
                left = {record for frame in self._disk.read() for record in _unframe(frame) or ()}
                records, self._records = self._records, []
                self._known = set()
                self._log = SimulatedLog(self._causes)
                self._keep([record for record in records if record in left])

    async def _trim_frames(self, stays: Callable[[LogRecord], bool]) -> None:
        frame = 0
        while frame < self._disk.synced:
            records = _unframe(self._disk.read()[frame]) or []
            kept = [record for record in records if stays(record)]
            if kept != records:
                self._disk.rewrite(frame, _frame(kept) if kept else b"")
                await trio.lowlevel.checkpoint()
                await self.life.check()
            frame += bool(kept or not records)

    async def _sync(self, through: int) -> None:
        # Whoever is first syncs for all that have written by then, as a group commit does.
        async with self._sync_turn:
            if self._disk.synced >= through and not self._sealed:
                return
            goal = self._disk.frames
            if not await self.life.pause(self._disk.rng.uniform(0, self._disk.faults.sync_ms_max)):
                return
            if self._sealed or self._disk.rng.random() < self._disk.faults.sync_fails:
                if not self._sealed:
                    self._disk.fired["disk.sync_fails"] += 1
                self._sealed = True
                raise JournalIndeterminate("the simulated disk failed to sync")
            self._disk.sync(goal)

    def _load(self) -> None:
        frames = self._disk.read()
        for place, frame in enumerate(frames):
            records = _unframe(frame)
            if records is not None:
                self._keep(records)
            elif place == len(frames) - 1:
                self._disk.drop_last()
            else:
                self.damaged_frames += 1

    def _keep(self, records: Sequence[LogRecord]) -> None:
        self._records += records
        self._known.update(records)
        for record in records:
            self._log.add(record)


def _frame(records: Sequence[LogRecord]) -> bytes:
    body = bytes(msgpack.packb(records))
    return crc32(body).to_bytes(_CHECKSUM_BYTES, "big") + body


def _unframe(frame: bytes) -> list[LogRecord] | None:
    check, body = frame[:_CHECKSUM_BYTES], frame[_CHECKSUM_BYTES:]
    if not body or int.from_bytes(check, "big") != crc32(body):
        return None
    return [LogRecord(*row) for row in msgpack.unpackb(body)]
