"""How applied changes reach the region's store, in the one order that survives a crash between any two steps.

Change rows, then the member row with the vector over them, then (those who wait for ``region`` durability are told)
the fold's cells, then the member row with the fold's header, then the removal of what was collected as garbage. What
one round writes is captured at one instant, before its first await, so the fold never runs ahead of the vector that
the store has. A round that fails is repeated as it was; repeating is always safe. While the store is away the backlog
is a map of dirty cells, bounded by the state itself, and the rows are read again from the journal. Every member row
names the forked incarnations: none has a vector over changes that were applied because of a fork that it does not tell.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from random import Random

import trio

from vexil.crdt import cell as cells
from vexil.crdt import version_vector
from vexil.crdt.change import Change, Dot
from vexil.crdt.garbage import FoldRemoval
from vexil.crdt.replica import Replica, touched
from vexil.node.seams import FoldEntry, Journal, LogRecord, MemberRow, Store, StoreError, StoreIndeterminate
from vexil.node.signal import Signal

FLUSH_INTERVAL_MS = 500
"""How long cells may gather before a round, when nobody waits for one."""
ROWS_KEPT_MAX = 20_000
"""Rows that are held in memory for the store; beyond it they are read from the journal."""
RETRY_MS_MIN = 100
RETRY_MS_MAX = 5_000
FOLD_BATCH_CELLS = 2_000
SORTED_CELLS_MAX = 20_000
"""More cells are written in the order in which they came: sorting would hold up the event loop."""
READ_BYTES = 4 << 20
CHECKPOINTS_OF_A_START = 1 << 16
"""How many numbers for checkpoints each start of a slot has to itself."""

_Address = tuple[str, Dot, str]
_Row = tuple[str, Dot, str, int]
_object_of = itemgetter(0)


@dataclass(slots=True)
class _Dirty:
    """What one project has to tell the store."""

    cells: dict[_Address, tuple[bytes, frozenset[int]]]
    rows: list[LogRecord]
    rows_complete: bool = True
    removed: dict[_Row, FoldRemoval] = field(default_factory=dict)
    """Per row of the fold the highest removal: bounded by the state, as the cells are."""


class RegionWriter:
    """The only writer of a slot's rows. `note` is called with every applied change; `run` does the rest."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        row: MemberRow,
        replicas: dict[str, Replica],
        *,
        rng: Random,
        hlc: Callable[[], int],
        on_failure: Callable[[StoreError], None],
    ) -> None:
        """A writer that goes on from ``row``, which the store has. ``on_failure`` counts and logs.

        ``hlc()`` is a stamp that no applied change that is believed is above.
        """
        self._store = store
        self._journal = journal
        self._row = row
        self.replicas = replicas
        """Every project's; the engine adds new ones before it notes their first change."""
        self._rng = rng
        self._hlc = hlc
        self._on_failure = on_failure
        self._dirty: dict[str, _Dirty] = {}
        self._forked = row.forked
        self._wake = trio.Event()
        self._urgent = False
        self._row_limiter = trio.Lock()
        self._round = trio.Lock()
        self.stored: dict[str, dict[int, int]] = {p: dict(vv) for p, vv in row.vv.items()}
        """Per project: the vector that the store has."""
        self.fold_stored: dict[str, dict[int, int]] = {}
        """Per project: the fold vector that the store has; the only one that garbage may ever rely on."""
        for project, header in row.fold.items():
            stored = Replica()
            stored.load_header(header)
            self.fold_stored[project] = dict(stored.vv)
        self._checkpoints_given: dict[str, int] = {}
        self.advanced = Signal()
        self.available = True

    @property
    def row(self) -> MemberRow:
        """The slot's row as this writer last got it into the store (or found it there)."""
        return self._row

    @property
    def backlog(self) -> int:
        """Changes that are applied here but not known to be in the store."""
        return sum(
            sum(max(0, seq - self.stored.get(p, {}).get(i, 0)) for i, seq in replica.vv.items())
            for p, replica in self.replicas.items()
        )

    def note(self, project: str, change: Change) -> None:
        """``change`` has just been applied to the project's replica."""
        dirty = self._of(project)
        objects = self.replicas[project].objects
        for name, generation, cell_field, incarnations in touched(change):
            address = (name, generation, cell_field)
            packed = objects[name][generation][cell_field]
            if cells.incarnations(packed) > len(incarnations):
                # A tombstone that its author had collected is replaced too, and the change does not name it.
                incarnations |= {s.incarnation for s in cells.seen(packed) if s.by == change.dot}
            before = dirty.cells.get(address)
            dirty.cells[address] = (packed, incarnations if before is None else before[1] | incarnations)
        if not self._store.shares_journal:
            if len(dirty.rows) < ROWS_KEPT_MAX:
                dirty.rows.append(LogRecord(project, change.incarnation, change.seq, change.raw))
            else:
                dirty.rows_complete = False
        self._wake.set()

    def note_forked(self, incarnations: Iterable[int]) -> None:
        """All that are known to be forked now. The next round, which is soon, begins with a row that says so."""
        forked = tuple(sorted(incarnations))
        if forked != self._forked:
            self._forked = forked
            self.hurry()

    def note_cells(self, project: str, addresses: Iterable[_Address]) -> None:
        """These cells are others now, and no change says so (a repair): every part that they have is written."""
        dirty = self._of(project)
        replica = self.replicas[project]
        for address in addresses:
            packed = replica.cell(*address)
            dirty.cells[address] = (packed, frozenset(entry.incarnation for entry in cells.entries(packed)))
        self._wake.set()

    def note_removed(self, project: str, removals: Sequence[FoldRemoval]) -> None:
        """Garbage has just been collected from the project's replica, up to a floor that `store_header` has stored."""
        removed = self._of(project).removed
        for removal in removals:
            row = removal[:4]
            before = removed.get(row)
            if before is None or before.timestamp < removal.timestamp:
                removed[row] = removal
        self._wake.set()

    def _of(self, project: str) -> _Dirty:
        dirty = self._dirty.get(project)
        if dirty is None:
            dirty = self._dirty[project] = _Dirty({}, [])
        return dirty

    def hurry(self) -> None:
        """Somebody waits: do not let cells gather before the next round."""
        if not self._urgent:
            self._urgent = True
            self._wake.set()

    async def announce(self, incarnation: int) -> None:
        """Write the member row of a fresh incarnation before it announces anything. Raises StoreError."""
        await self._write_row(incarnation=incarnation)

    async def register(self, registration: str) -> None:
        """Write that the slot is a member under ``registration``. Raises StoreError."""
        await self._write_row(registration=registration)

    def checkpoint(self, project: str) -> int:
        """The checkpoint that is the slot's fold of ``project``."""
        return self._row.checkpoint.get(project, 0)

    def new_checkpoint(self, project: str) -> int:
        """A number for a fold that is to be staged: no start of this slot has used it or will use it again.

        What a store was sent for a dropped checkpoint may land late, so a number that was ever used is used up.
        """
        lowest = self._row.start * CHECKPOINTS_OF_A_START
        before = max(self._checkpoints_given.get(project, 0), self.checkpoint(project))
        self._checkpoints_given[project] = max(lowest, before + 1)
        return self._checkpoints_given[project]

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Write what is dirty now, then keep rounds away for as long as the context is open.

        Inside it neither `flush` nor `store_header` may be called: both would wait for themselves (RuntimeError).
        """
        async with self._round:
            await self._one_round()
            yield

    async def store_header(self, project: str) -> None:
        """Return when the store has the project's header, with the floor as it is now; waits for as long as it takes.

        The dirty cells go before it, as in every round: a header never says more than its cells.
        """
        async with self._round:
            self._of(project)
            await self._one_round()

    async def switch(self, project: str, checkpoint: int, header: bytes, vv: Mapping[int, int]) -> None:
        """Make a staged checkpoint the slot's fold, by one row; the caller holds `exclusive`.

        ``header`` and ``vv`` are the merged state's, whose cells the checkpoint has. Returns when the store has the
        row. Cancelled before, it may have it or not: this writer then goes on with the old checkpoint and its next
        round says so; until that round is through (`flush`), neither checkpoint may be dropped.
        """
        row = self._row
        try:
            await self._until_taken(
                self._write_row,
                checkpoint={**row.checkpoint, project: checkpoint},
                fold={**row.fold, project: header},
                vv={**row.vv, project: dict(vv)},
            )
        except trio.Cancelled:
            self._of(project)
            self._wake.set()
            raise
        self.stored[project] = dict(vv)
        self.fold_stored[project] = dict(vv)
        self.advanced.notify()

    async def run(self) -> None:
        """Write rounds until cancelled."""
        while True:
            await self._wake.wait()
            if not self._urgent:
                with trio.move_on_after(FLUSH_INTERVAL_MS / 1000):
                    while not self._urgent:
                        self._wake = trio.Event()
                        await self._wake.wait()
            self._wake = trio.Event()
            self._urgent = False
            await self.flush()

    async def flush(self) -> None:
        """One round over everything that is dirty now; repeats until the store has taken it.

        Rounds never overlap: a vector must not overtake the rows of an earlier round.
        """
        async with self._round:
            await self._one_round()

    async def _one_round(self) -> None:
        if self._forked != self._row.forked:
            await self._until_taken(self._write_row)
        captured, self._dirty = self._dirty, {}
        if not captured:
            return
        try:
            await self._write_round(captured)
        except trio.Cancelled:
            # A drain is bounded, and the process may go on for a moment: what the next round says covers this one.
            for project, dirty in captured.items():
                newer = self._dirty.get(project)
                self._dirty[project] = dirty if newer is None else _together(dirty, newer)
            raise

    async def _write_round(self, captured: Mapping[str, _Dirty]) -> None:
        vectors = {p: dict(self.replicas[p].vv) for p in captured}
        headers = {p: self.replicas[p].header() for p in captured}
        for project, dirty in captured.items():
            if not self._store.shares_journal:
                await self._until_taken(self._write_rows, project, dirty, vectors[project])
        await self._until_taken(self._write_vectors, vectors)
        for project, dirty in captured.items():
            await self._until_taken(self._write_cells, project, dirty)
        await self._until_taken(self._write_headers, headers)
        self.fold_stored.update(vectors)
        for project, dirty in captured.items():
            await self._until_taken(self._remove, project, dirty)

    async def _until_taken(
        self, step: Callable[..., object], *arguments: object, **differences: object
    ) -> None:
        wait_ms = RETRY_MS_MIN
        while True:
            try:
                await step(*arguments, **differences)  # type: ignore[misc]
            except StoreError as error:
                self.available = False
                self._on_failure(error)
                await trio.sleep(wait_ms * self._rng.uniform(0.5, 1.5) / 1000)
                wait_ms = min(wait_ms * 2, RETRY_MS_MAX)
            else:
                if not self.available:
                    self.available = True
                    self.advanced.notify()
                return

    async def until_stored(
        self, project: str, vv: Mapping[int, int], *, retired: Container[int], timeout_ms: float
    ) -> bool:
        """Wait until the store has all of ``vv`` that is not ``retired``; False if time ran out."""

        def holds() -> bool:
            there = self.stored.get(project, {})
            return all(there.get(i, 0) >= seq or i in retired for i, seq in vv.items())

        if not holds():
            self.hurry()
        return await self.advanced.until(holds, timeout_ms=timeout_ms)

    async def _write_rows(self, project: str, dirty: _Dirty, vv: Mapping[int, int]) -> None:
        if dirty.rows_complete:
            if dirty.rows:
                await self._store.write_changes(dirty.rows)
            return
        reached = dict(self.stored.get(project, {}))
        while page := await self._journal.read_changes(
            project, after=reached, through=vv, limit_bytes=READ_BYTES
        ):
            await self._store.write_changes(page)
            for record in page:
                reached[record.incarnation] = record.seq
        if not version_vector.covers(reached, vv):
            raise StoreIndeterminate(f"the journal does not hold all rows of {project} that the store lacks")

    async def _write_vectors(self, vectors: Mapping[str, Mapping[int, int]]) -> None:
        await self._write_row(vv={**self._row.vv, **vectors})
        for project, vv in vectors.items():
            self.stored[project] = dict(vv)
        self.advanced.notify()

    async def _write_headers(self, headers: Mapping[str, bytes]) -> None:
        await self._write_row(fold={**self._row.fold, **headers})

    async def _write_row(self, **differences: object) -> None:
        async with self._row_limiter:
            facts = {"forked": self._forked, "hlc": self._hlc(), **differences}
            row = replace(self._row, revision=self._row.revision + 1, **facts)  # type: ignore[arg-type]
            # Even a write that failed may land: its revision is never used again.
            self._row = replace(self._row, revision=row.revision)
            await self._store.write_member(row)
            self._row = row

    async def _write_cells(self, project: str, dirty: _Dirty) -> None:
        checkpoint = self.checkpoint(project)
        batch: list[FoldEntry] = []
        # By object, as the store has them: a transaction then writes a few pages and not a few of every page.
        ordered = sorted(dirty.cells, key=_object_of) if len(dirty.cells) <= SORTED_CELLS_MAX else dirty.cells
        for address in ordered:
            name, generation, cell_field = address
            packed, incarnations = dirty.cells[address]
            batch += _fold_entries(name, generation, cell_field, packed, incarnations)
            if len(batch) >= FOLD_BATCH_CELLS:
                await self._store.write_fold(project, batch, checkpoint=checkpoint)
                batch = []
        if batch:
            await self._store.write_fold(project, batch, checkpoint=checkpoint)

    async def _remove(self, project: str, dirty: _Dirty) -> None:
        removals = list(dirty.removed.values())
        checkpoint = self.checkpoint(project)
        for start in range(0, len(removals), FOLD_BATCH_CELLS):
            await self._store.collect_fold(
                project, removals[start : start + FOLD_BATCH_CELLS], checkpoint=checkpoint
            )


def _together(older: _Dirty, newer: _Dirty) -> _Dirty:
    """What two rounds have to tell, as one."""
    merged = dict(older.cells)
    for address, (packed, parts) in newer.cells.items():
        before = merged.get(address)
        merged[address] = (packed, parts if before is None else before[1] | parts)
    complete = older.rows_complete and newer.rows_complete
    rows = [*older.rows, *newer.rows] if complete else []
    removed = dict(older.removed)
    for row, removal in newer.removed.items():
        known = removed.get(row)
        if known is None or known.timestamp < removal.timestamp:
            removed[row] = removal
    return _Dirty(merged, rows, complete and len(rows) <= ROWS_KEPT_MAX, removed)


def _fold_entries(
    name: str, generation: Dot, field: str, packed: bytes, incarnations: Iterable[int]
) -> Iterable[FoldEntry]:
    for entry in cells.entries(packed, incarnations):
        yield FoldEntry(
            name, generation, field, entry.incarnation, entry.packed, entry.lane_seq, entry.seen_seq
        )
