"""A simulated region store with Cassandra's manners: indeterminate, partial, reordered and late writes.

A ``SimulatedRegion`` is the cluster: it outlives processes and is shared by the region's nodes. A ``SimulatedStore``
is one process's session with it. A write is a set of independent mutations; each may be applied now, never, or as a
*ghost*: after the answer, after the process's death, in any order. What a mutation does is decided by its own
timestamps (member start and revision, lane and seen seq, a row tombstone's), so that late is the same as early.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final

import trio

from vexil.chaos.world.process_life import ProcessLife
from vexil.chaos.world.simulated_fold import SimulatedFold
from vexil.chaos.world.simulated_log import SimulatedLog
from vexil.crdt.garbage import FoldRemoval
from vexil.node.causal_order import Causes, causes_of
from vexil.node.durability import REGION
from vexil.node.seams import (
    AsideRecord,
    FoldEntry,
    HistoryRow,
    LogRecord,
    MemberRow,
    StoreIndeterminate,
    StoreUnavailable,
)

GHOSTS_MAX: Final = 100_000
"""Late mutations that are held back; beyond, the oldest lands."""
FOLD_BATCH_ROWS: Final = 500
ASIDE_LIMIT: Final = 10_000

Mutation = Callable[[], None]


@dataclass(frozen=True, slots=True)
class StoreFaults:
    """How a region store misbehaves. Probabilities are per call, in 0…1; the defaults are a perfect store."""

    latency_ms_max: float = 0.0
    """Every call takes from nothing up to this, evenly."""
    slow: float = 0.0
    """The call takes up to ``slow_ms_max`` instead."""
    slow_ms_max: float = 2_000.0
    timeout_applied: float = 0.0
    """The write is applied, but its answer is lost: StoreIndeterminate after ``timeout_ms``."""
    timeout_lost: float = 0.0
    """The write is not applied: StoreIndeterminate."""
    timeout_partial: float = 0.0
    """Some mutations of the write are applied, each other one is lost or becomes a ghost: StoreIndeterminate."""
    timeout_late: float = 0.0
    """All mutations become ghosts: StoreIndeterminate."""
    timeout_ms: float = 5_000.0
    abandoned_lands: float = 0.0
    """A mutation in flight when its caller was cancelled or killed becomes a ghost; else it is lost."""
    read_fails: float = 0.0
    """A read gets no quorum: StoreUnavailable."""

    def __post_init__(self) -> None:
        assert self.timeout_applied + self.timeout_lost + self.timeout_partial + self.timeout_late <= 1


class _Fate(Enum):
    DONE = ""
    APPLIED = "timeout_applied"
    LOST = "timeout_lost"
    PARTIAL = "timeout_partial"
    LATE = "timeout_late"


@dataclass(slots=True)
class _Slot:
    folds: dict[tuple[str, int], SimulatedFold] = field(default_factory=dict)
    """By project and checkpoint."""
    aside: dict[tuple[str, bytes], AsideRecord] = field(default_factory=dict)


class SimulatedRegion:
    """One region's cluster: log rows shared by all slots, a fold and refused changes per slot, member rows.

    ``available`` is the switch of an outage: a call that meets it off raises StoreUnavailable and does nothing.
    ``full``: only writes do. ``burden_ms``: every call takes up to so much longer. ``faults`` may be replaced at any
    time, for a phase of calm.
    """

    def __init__(
        self,
        rng: random.Random,
        faults: StoreFaults | None = None,
        *,
        causes: Causes = causes_of,
        aside_limit: int = ASIDE_LIMIT,
        fired: Counter[str] | None = None,
        durability: str = REGION,
    ) -> None:
        """Nothing is in it. ``fired`` counts how often each of ``faults`` has struck, as ``store.<its name>``.

        ``durability`` is what a change is whose row is in here: a node's own store is on the node's own disk.
        """
        self.rng = rng
        self.faults = faults if faults is not None else StoreFaults()
        self.fired: Counter[str] = Counter() if fired is None else fired
        self.aside_limit = aside_limit
        self.available = True
        self.durability = durability
        self.full = False
        self.burden_ms = 0.0
        self.log = SimulatedLog(causes)
        self._slots: dict[str, _Slot] = {}
        self._members: dict[str, MemberRow] = {}
        self._ghosts: list[Mutation] = []

    def copied(self, rng: random.Random) -> SimulatedRegion:
        """A copy as of now, writes that may land late included; it draws from ``rng``."""
        twin = copy.deepcopy(self, {id(self.rng): rng, id(self.fired): self.fired})
        twin.available, twin.full, twin.burden_ms = True, False, 0.0
        return twin

    def connect(self, slot: str, life: ProcessLife | None = None) -> SimulatedStore:
        """A process's session: its fold is the slot's."""
        session = SimulatedStore(self, slot, life)
        session.durability = self.durability
        return session

    @property
    def ghosts(self) -> int:
        """How many mutations may still land."""
        return len(self._ghosts)

    def land_ghosts(self, count: int | None = None) -> int:
        """Apply ``count`` (or all) late mutations, chosen and ordered by chance. Returns how many landed."""
        self.rng.shuffle(self._ghosts)
        landing = self._ghosts[:count]
        del self._ghosts[:count]
        for mutation in landing:
            mutation()
        return len(landing)

    def delay(self, mutations: Sequence[Mutation]) -> None:
        """Let mutations land later."""
        self._ghosts += mutations
        while len(self._ghosts) > GHOSTS_MAX:
            self._ghosts.pop(0)()

    def slot(self, name: str) -> _Slot:
        """The slot's private part."""
        return self._slots.setdefault(name, _Slot())

    def put_member(self, row: MemberRow) -> None:
        """Keep a member row unless the same or a later one is there."""
        old = self._members.get(row.slot)
        if old is None or (row.start, row.revision) > (old.start, old.revision):
            self._members[row.slot] = row

    def member(self, slot: str) -> MemberRow | None:
        """The slot's newest row."""
        return self._members.get(slot)

    def members(self) -> Sequence[MemberRow]:
        """The newest row of every slot."""
        return list(self._members.values())

    def put_aside(self, slot: str, record: AsideRecord) -> None:
        """Keep a refused change of a slot: one per project and bytes, the first report stays."""
        aside = self.slot(slot).aside
        aside.setdefault((record.project, record.raw), record)
        while len(aside) > self.aside_limit:
            del aside[next(iter(aside))]

    def fold(self, slot: str, project: str, checkpoint: int = 0) -> SimulatedFold:
        """A stored fold of a slot."""
        return self.slot(slot).folds.setdefault((project, checkpoint), SimulatedFold())


class SimulatedStore:
    """``Store`` of one process in one region. Made by ``SimulatedRegion.connect``.

    Cancellation or death while a write is under way leaves its mutations lost or late (``abandoned_lands``); after
    ``kill`` every call raises ProcessDead and nothing is sent.
    """

    kind = "simulated"
    shares_journal = False
    durability = REGION
    damaged_records = 0

    def __init__(self, region: SimulatedRegion, slot: str, life: ProcessLife | None = None) -> None:
        self.life = life if life is not None else ProcessLife()
        self._region = region
        self._slot = slot

    def kill(self) -> None:
        """The process is dead: what it had in flight may still land, and it sends nothing more."""
        self.life.kill()

    async def read_member(self, slot: str) -> MemberRow | None:
        """``Store.read_member``."""
        await self._read("read member")
        return self._region.member(slot)

    async def write_member(self, row: MemberRow) -> None:
        """``Store.write_member``."""
        await self._write("write member", [partial(self._region.put_member, row)])

    async def write_changes(self, records: Sequence[LogRecord]) -> None:
        """``Store.write_changes``."""
        log = self._region.log
        await self._write(
            "write changes", [partial(log.add, record, sent_after=log.trims) for record in records]
        )

    async def read_changes(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """``Store.read_changes``."""
        await self._read("read changes")
        return self._region.log.page(project, after, through, limit_bytes)

    async def read_history(self, project: str, *, before: str | None, limit: int) -> Sequence[HistoryRow]:
        """``Store.read_history``, in the log's causal order reversed. Raises ValueError for a cursor that is none."""
        await self._read("read history")
        rows = [
            HistoryRow(f"{record.incarnation:x}.{record.seq}.{place}", record.raw)
            for place, record in enumerate(self._region.log.whole(project))
        ]
        rows.reverse()
        start = 0
        if before is not None:
            # The place only tells the rows of a fork apart; late rows may have moved it since.
            dot = before.rpartition(".")[0]
            behind = [n for n, row in enumerate(rows) if row.cursor.rpartition(".")[0] == dot]
            if not behind:
                raise ValueError(f"not a cursor: {before[:40]!r}")
            start = behind[-1] + 1
        return rows[start : start + max(0, limit)]

    async def log_projects(self) -> Sequence[str]:
        """``Store.log_projects``."""
        await self._read("log projects")
        return self._region.log.projects()

    async def log_start(self, project: str) -> Mapping[int, int]:
        """``Store.log_start``."""
        await self._read("log start")
        return self._region.log.start(project)

    async def trim_changes(self, project: str, through: Mapping[int, int]) -> None:
        """``Store.trim_changes``: a range tombstone per incarnation."""
        log = self._region.log
        await self._write(
            "trim changes", [partial(log.trim, project, {i: seq}) for i, seq in sorted(through.items())]
        )

    async def write_past(self, project: str, records: Sequence[LogRecord]) -> None:
        """``Store.write_past``. Raises ValueError for a record of another project."""
        if any(record.project != project for record in records):
            raise ValueError(f"the past of {project} with a record of another project")
        log = self._region.log
        await self._write(
            "write past", [partial(log.add_past, record, sent_after=log.trims) for record in records]
        )

    async def write_fold(self, project: str, entries: Sequence[FoldEntry], *, checkpoint: int = 0) -> None:
        """``Store.write_fold``."""
        fold = self._region.fold(self._slot, project, checkpoint)
        assert not fold.dropped, "the number of a dropped checkpoint is used again"
        await self._write("write fold", [partial(fold.put, entry) for entry in entries])

    async def read_fold(self, project: str, *, checkpoint: int = 0) -> AsyncIterator[Sequence[FoldEntry]]:
        """``Store.read_fold``; as in Cassandra each batch is as of its own reading."""
        rows = self._region.fold(self._slot, project, checkpoint).rows
        keys = sorted(rows)
        for start in range(0, len(keys), FOLD_BATCH_ROWS):
            await self._read("read fold")
            # What has been collected meanwhile is not there any more.
            batch = [rows[key] for key in keys[start : start + FOLD_BATCH_ROWS] if key in rows]
            if batch:
                yield batch

    async def collect_fold(
        self, project: str, removals: Sequence[FoldRemoval], *, checkpoint: int = 0
    ) -> None:
        """``Store.collect_fold``: each tombstone is a mutation of its own."""
        fold = self._region.fold(self._slot, project, checkpoint)
        await self._write("collect fold", [partial(fold.bury, removal) for removal in removals])

    async def fold_checkpoints(self) -> Mapping[str, Sequence[int]]:
        """``Store.fold_checkpoints``."""
        await self._read("fold checkpoints")
        found: dict[str, list[int]] = {}
        for (project, checkpoint), fold in sorted(self._region.slot(self._slot).folds.items()):
            if fold.rows:
                found.setdefault(project, []).append(checkpoint)
        return found

    async def drop_fold(self, project: str, checkpoint: int) -> None:
        """``Store.drop_fold``: one tombstone over all of it."""
        await self._write("drop fold", [self._region.fold(self._slot, project, checkpoint).drop])

    async def put_aside(self, record: AsideRecord) -> None:
        """``Store.put_aside``: one per project and bytes, the first report stays."""
        await self._write("put aside", [partial(self._region.put_aside, self._slot, record)])

    async def read_aside(self) -> Sequence[AsideRecord]:
        """``Store.read_aside``."""
        await self._read("read aside")
        return list(self._region.slot(self._slot).aside.values())

    async def _read(self, what: str) -> None:
        """What goes before every reading: time, and perhaps an error."""
        region = self._region
        with self.life.step(f"store {what}"):
            await self.life.check()
            fails = region.rng.random() < region.faults.read_fails
            await self.life.pause(self._latency_ms())
            await self.life.check()
            if fails:
                region.fired["store.read_fails"] += 1
            if fails or not region.available:
                raise StoreUnavailable("no quorum in the simulated region")

    async def _write(self, what: str, mutations: Sequence[Mutation]) -> None:
        with self.life.step(f"store {what}"):
            await self._mutate(mutations)

    async def _mutate(self, mutations: Sequence[Mutation]) -> None:
        await self.life.check()
        await trio.lowlevel.checkpoint_if_cancelled()
        region = self._region
        if region.full or not region.available:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("no quorum in the simulated region")
        fate = self._draw_fate()
        try:
            alive = await self.life.pause(self._latency_ms())
        except trio.Cancelled:
            self._abandon(mutations)
            raise
        if not alive:
            self._abandon(mutations)
            await self.life.check()
        now, late = self._split(mutations, fate)
        for mutation in now:
            mutation()
        region.delay(late)
        if fate is not _Fate.DONE:
            region.fired[f"store.{fate.value}"] += 1
            await self.life.pause(region.faults.timeout_ms)
            await self.life.check()
            raise StoreIndeterminate("no answer from the simulated region in time")
        # Only a process that stands still waits here: the write is done, and it does not know it.
        await self.life.check()

    def _draw_fate(self) -> _Fate:
        faults = self._region.faults
        chance = self._region.rng.random()
        for fate, probability in (
            (_Fate.APPLIED, faults.timeout_applied),
            (_Fate.LOST, faults.timeout_lost),
            (_Fate.PARTIAL, faults.timeout_partial),
            (_Fate.LATE, faults.timeout_late),
        ):
            if chance < probability:
                return fate
            chance -= probability
        return _Fate.DONE

    def _split(
        self, mutations: Sequence[Mutation], fate: _Fate
    ) -> tuple[Sequence[Mutation], Sequence[Mutation]]:
        if fate in {_Fate.DONE, _Fate.APPLIED}:
            return mutations, ()
        if fate is _Fate.LOST:
            return (), ()
        if fate is _Fate.LATE:
            return (), mutations
        rng = self._region.rng
        shuffled = list(mutations)
        rng.shuffle(shuffled)
        cut = rng.randint(0, len(shuffled))
        return shuffled[:cut], [mutation for mutation in shuffled[cut:] if rng.getrandbits(1)]

    def _abandon(self, mutations: Sequence[Mutation]) -> None:
        region = self._region
        landing = [m for m in mutations if region.rng.random() < region.faults.abandoned_lands]
        if landing:
            region.fired["store.abandoned_lands"] += 1
            region.delay(landing)

    def _latency_ms(self) -> float:
        region, faults, rng = self._region, self._region.faults, self._region.rng
        slow = rng.random() < faults.slow
        if slow:
            region.fired["store.slow"] += 1
        burden_ms = rng.uniform(0, region.burden_ms) if region.burden_ms else 0.0
        return burden_ms + rng.uniform(0, faults.slow_ms_max if slow else faults.latency_ms_max)
