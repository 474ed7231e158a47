"""Stores that stop, break off or look on: what a crash between any two calls leaves, and in which order writes come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import trio

from vexil.chaos.world.simulated_store import SimulatedStore
from vexil.crdt import cell as cells
from vexil.crdt.change import Change, decode
from vexil.crdt.garbage import FoldRemoval
from vexil.crdt.replica import Replica
from vexil.node.seams import AsideRecord, FoldEntry, HistoryRow, LogRecord, MemberRow, Store

CHECKED_ROWS_MAX = 2_000
"""A longer log is not folded again at every row."""


class StoppingStore:
    """Another store, up to its ``calls``-th call; that one and all later ones never return.

    The last call is carried out if ``landed``, else nothing of it is. ``stopped`` is then set.
    """

    def __init__(self, inner: Store, *, calls: int | None, landed: bool) -> None:
        self._inner = inner
        self._limit = calls
        self._landed = landed
        self.kind = inner.kind
        self.shares_journal = inner.shares_journal
        self.durability = inner.durability
        self.damaged_records = inner.damaged_records
        self.calls = 0
        self.stopped = trio.Event()

    async def _last(self) -> bool:
        """Count a call. True: it is to be carried out, and not answered."""
        self.calls += 1
        if self._limit is None or self.calls < self._limit:
            return False
        if self.calls > self._limit or not self._landed:
            self.stopped.set()
            await trio.sleep_forever()
        return True

    async def _end(self) -> None:
        self.stopped.set()
        await trio.sleep_forever()

    async def read_member(self, slot: str) -> MemberRow | None:
        last = await self._last()
        row = await self._inner.read_member(slot)
        if last:
            await self._end()
        return row

    async def write_member(self, row: MemberRow) -> None:
        last = await self._last()
        await self._inner.write_member(row)
        if last:
            await self._end()

    async def write_changes(self, records: Sequence[LogRecord]) -> None:
        last = await self._last()
        await self._inner.write_changes(records)
        if last:
            await self._end()

    async def read_changes(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        if await self._last():
            await self._end()
        return await self._inner.read_changes(project, after=after, through=through, limit_bytes=limit_bytes)

    async def read_history(self, project: str, *, before: str | None, limit: int) -> Sequence[HistoryRow]:
        if await self._last():
            await self._end()
        return await self._inner.read_history(project, before=before, limit=limit)

    async def log_projects(self) -> Sequence[str]:
        if await self._last():
            await self._end()
        return await self._inner.log_projects()

    async def log_start(self, project: str) -> Mapping[int, int]:
        if await self._last():
            await self._end()
        return await self._inner.log_start(project)

    async def trim_changes(self, project: str, through: Mapping[int, int]) -> None:
        last = await self._last()
        # The last call that lands lands in part, as a fold does.
        some = dict(sorted(through.items())[: max(1, len(through) // 2)])
        await self._inner.trim_changes(project, some if last else through)
        if last:
            await self._end()

    async def write_past(self, project: str, records: Sequence[LogRecord]) -> None:
        last = await self._last()
        await self._inner.write_past(project, records[: max(1, len(records) // 2)] if last else records)
        if last:
            await self._end()

    async def write_fold(self, project: str, entries: Sequence[FoldEntry], *, checkpoint: int = 0) -> None:
        last = await self._last()
        # A last call that lands lands in part: a fold is no transaction.
        part = entries[: max(1, len(entries) // 2)] if last else entries
        await self._inner.write_fold(project, part, checkpoint=checkpoint)
        if last:
            await self._end()

    async def read_fold(self, project: str, *, checkpoint: int = 0) -> AsyncIterator[Sequence[FoldEntry]]:
        if await self._last():
            await self._end()
        async for batch in self._inner.read_fold(project, checkpoint=checkpoint):
            yield batch

    async def collect_fold(
        self, project: str, removals: Sequence[FoldRemoval], *, checkpoint: int = 0
    ) -> None:
        last = await self._last()
        part = removals[: max(1, len(removals) // 2)] if last else removals
        await self._inner.collect_fold(project, part, checkpoint=checkpoint)
        if last:
            await self._end()

    async def fold_checkpoints(self) -> Mapping[str, Sequence[int]]:
        if await self._last():
            await self._end()
        return await self._inner.fold_checkpoints()

    async def drop_fold(self, project: str, checkpoint: int) -> None:
        last = await self._last()
        await self._inner.drop_fold(project, checkpoint)
        if last:
            await self._end()

    async def put_aside(self, record: AsideRecord) -> None:
        last = await self._last()
        await self._inner.put_aside(record)
        if last:
            await self._end()

    async def read_aside(self) -> Sequence[AsideRecord]:
        if await self._last():
            await self._end()
        return await self._inner.read_aside()


class WatchedStore(SimulatedStore):
    """A simulated store that looks at the region whenever a member row is written: nothing may overtake anything.

    At every such moment a crash must be survivable: the log reaches up to the row's vector, and the fold with the
    rows behind its header makes the state that the log makes.
    """

    rows_checked = 0
    folds_checked = 0

    async def write_member(self, row: MemberRow) -> None:
        for project, vv in row.vv.items():
            log = self._log(project, vv)
            assert vector_of(log) == vv, f"{project}: a vector over rows that are not in the store"
            self.rows_checked += 1
            if project in row.fold and len(log) < CHECKED_ROWS_MAX:
                self._check_fold(project, row.checkpoint.get(project, 0), row.fold[project], log)
        await super().write_member(row)
        known = self._region.member(self._slot)
        assert known is not None
        assert known == row or (known.start, known.revision) > (row.start, row.revision), "the row is void"

    def _log(self, project: str, vv: Mapping[int, int]) -> list[Change]:
        return [decode(record.raw) for record in self._region.log.page(project, {}, vv, 1 << 40)]

    def _check_fold(self, project: str, checkpoint: int, header: bytes, log: Sequence[Change]) -> None:
        wanted, found = Replica(), Replica()
        found.load_header(header)
        stored = self._region.fold(self._slot, project, checkpoint).rows
        for entry in (stored[key] for key in sorted(stored)):
            fields = found.fields(entry.object, entry.generation)
            made = cells.from_entries((entry.entry,))
            fields[entry.field] = cells.join(fields.get(entry.field, cells.EMPTY), made)
        found.settle_retired()
        for change in log:
            if change.seq > found.known(change.incarnation):
                found.apply(change)
        # A vector leaves out who is retired; their rows are in the log all the same.
        for change in self._log(project, {**found.vv, **found.retired}):
            wanted.apply(change)
        assert found.vv == wanted.vv, "a fold ahead of its vector"
        assert list(found.canonical()) == list(wanted.canonical()), "a header whose cells are not there"
        self.folds_checked += 1


def vector_of(log: Sequence[Change]) -> dict[int, int]:
    """How far the log reaches without a gap."""
    reached: dict[int, int] = {}
    for change in log:
        assert change.seq == reached.get(change.incarnation, 0) + 1
        reached[change.incarnation] = change.seq
    return reached
