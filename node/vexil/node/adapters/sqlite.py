"""The embedded store: one SQLite file that is the node's journal and its region's store in one.

The journal's records *are* the store's change rows, so a change is written once. One connection writes, from one
thread at a time, with group commit (``sqlite_commit``); another reads, so that reading the log never waits for a
sync. Where the seam says "a timestamp per column", see ``vexil.node.fold_order`` for what stands in for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import trio

from vexil.crdt.garbage import FoldRemoval
from vexil.node.adapters import sqlite_file, sqlite_fold, sqlite_state
from vexil.node.adapters.sqlite_commit import Fate, GroupCommit, Job, Outcome
from vexil.node.adapters.sqlite_log import SEQ_MAX, LogReader, LogWriter, position_of
from vexil.node.causal_order import Causes, causes_of
from vexil.node.seams import (
    AsideRecord,
    FoldEntry,
    HistoryRow,
    JournalError,
    JournalFull,
    JournalIndeterminate,
    LogRecord,
    MemberRow,
    StoreError,
    StoreIndeterminate,
    StoreUnavailable,
)

APPEND_RECORDS_MAX: Final = 100_000
"""Records of one append: it is one transaction."""
RECORD_BYTES_MAX: Final = 16 << 20
INCARNATION_MAX: Final = (1 << 64) - 1

_T = TypeVar("_T")


class SqliteStore:
    """``Journal`` and ``Store`` of one slot on one file. Made by ``open`` or ``aopen``, not directly.

    Further errors than the seam's: a file that is damaged gives JournalError (of the log) or StoreUnavailable, with
    the file's name. After a JournalIndeterminate or StoreIndeterminate every further write says the same.
    """

    kind = "sqlite"
    shares_journal = True
    durability = "node"

    def __init__(
        self,
        path: Path,
        writer: sqlite3.Connection,
        reader: sqlite3.Connection,
        *,
        causes: Causes,
        aside_limit: int,
    ) -> None:
        self._path = path
        self._aside_limit = aside_limit
        self._causes = causes
        self._writer = writer
        self._reader = reader
        self._log_writer = LogWriter(writer)
        self._log_reader = LogReader(reader)
        self._commit = GroupCommit(writer, path=path, on_rollback=self._log_writer.forget)
        self._reading = trio.CapacityLimiter(1)
        self._closed = False

    @classmethod
    async def aopen(
        cls,
        path: str | Path,
        *,
        causes: Causes = causes_of,
        aside_limit: int = sqlite_state.ASIDE_LIMIT,
        connect: sqlite_file.Connect = sqlite_file.connect,
    ) -> Self:
        """Open or make the file. Raises JournalError naming it. The caller holds the folder's lock and ``aclose``s."""
        file = Path(path)

        def opened() -> tuple[sqlite3.Connection, sqlite3.Connection]:
            writer = sqlite_file.open_writer(file, connect)
            try:
                return writer, sqlite_file.open_reader(file, connect)
            except JournalError:
                writer.close()
                raise

        with trio.CancelScope(shield=True):
            writer, reader = await trio.to_thread.run_sync(opened)
        return cls(file, writer, reader, causes=causes, aside_limit=aside_limit)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | Path,
        *,
        causes: Causes = causes_of,
        aside_limit: int = sqlite_state.ASIDE_LIMIT,
        connect: sqlite_file.Connect = sqlite_file.connect,
    ) -> AsyncIterator[Self]:
        """``aopen`` and ``aclose`` as one context."""
        store = await cls.aopen(path, causes=causes, aside_limit=aside_limit, connect=connect)
        try:
            yield store
        finally:
            await store.aclose()

    async def aclose(self) -> None:
        """Complete the writes that wait, then close the file; again is harmless. Not interrupted by cancellation."""
        if not self._closed:
            self._closed = True
            with trio.CancelScope(shield=True):
                await self._commit.close()
                await trio.to_thread.run_sync(self._reader.close, limiter=self._reading)

    @property
    def damaged_records(self) -> int:
        """``Store.damaged_records``: a wrong checksum; each row once, up to ``DAMAGED_POSITIONS_MAX``."""
        return self._log_reader.damaged

    # Journal

    async def append(self, records: Sequence[LogRecord]) -> None:
        """``Journal.append``. Raises ValueError for a record that no journal could keep."""
        outcome = await self._append(records)
        if outcome.fate is not Fate.WRITTEN:
            raise _JOURNAL_ERRORS[outcome.fate](outcome.message)

    async def replay(self, *, after: Mapping[str, Mapping[int, int]]) -> AsyncGenerator[Sequence[LogRecord]]:
        """``Journal.replay``: damaged records are left out and counted (``damaged_records``). Raises JournalError."""
        behind = await self._read(lambda: self._log_reader.before_uncovered(after), JournalError)
        while behind is not None:
            batch, behind = await self._read(partial(self._log_reader.batch, behind), JournalError)
            uncovered = [r for r in batch if r.seq > after.get(r.project, {}).get(r.incarnation, 0)]
            if uncovered:
                yield uncovered

    # Store

    async def write_changes(self, records: Sequence[LogRecord]) -> None:
        """``Store.write_changes``: the same rows as the journal's."""
        _raise_store_error(await self._append(records))

    async def read_changes(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """``Store.read_changes``. A damaged row is a gap."""
        return await self._read(
            lambda: self._log_reader.changes(project, after, through, limit_bytes, self._causes)
        )

    async def read_history(self, project: str, *, before: str | None, limit: int) -> Sequence[HistoryRow]:
        """``Store.read_history``; at most ``HISTORY_ROWS_MAX``. Raises ValueError for a cursor that is none."""
        position = None if before is None else position_of(before)
        return await self._read(lambda: self._log_reader.history(project, position, limit))

    async def log_projects(self) -> Sequence[str]:
        """``Store.log_projects``, ascending."""
        return await self._read(self._log_reader.projects)

    async def log_start(self, project: str) -> Mapping[int, int]:
        """``Store.log_start``."""
        return await self._read(lambda: self._log_reader.start(project))

    async def trim(self, project: str, through: Mapping[int, int]) -> None:
        """``Journal.trim``: the same rows as the store's, so that the second of the two finds nothing to do."""
        outcome = await self._trim(project, through, JournalError)
        if outcome.fate is not Fate.WRITTEN:
            raise _JOURNAL_ERRORS[outcome.fate](outcome.message)

    async def trim_changes(self, project: str, through: Mapping[int, int]) -> None:
        """``Store.trim_changes``, in transactions of at most ``TRIM_ROWS`` rows."""
        _raise_store_error(await self._trim(project, through, StoreUnavailable))

    async def write_past(self, project: str, records: Sequence[LogRecord]) -> None:
        """``Store.write_past``, in one transaction. Raises ValueError for a record of another project."""
        _check_all(records)
        if any(record.project != project for record in records):
            raise ValueError(f"the past of {project} with a record of another project")
        log = self._log_writer
        job = Job(lambda: log.insert_past(records), lambda: log.contains(records))
        _raise_store_error(await self._commit.run(job))

    async def write_fold(self, project: str, entries: Sequence[FoldEntry], *, checkpoint: int = 0) -> None:
        """``Store.write_fold``, in several transactions; ``vexil.node.fold_order`` decides between entries."""
        await self._in_chunks(
            entries, lambda chunk: sqlite_fold.write(self._writer, project, checkpoint, chunk)
        )

    async def read_fold(self, project: str, *, checkpoint: int = 0) -> AsyncIterator[Sequence[FoldEntry]]:
        """``Store.read_fold`` in batches of ``FOLD_BATCH_ROWS``; each batch is as of its own reading."""
        behind: sqlite_fold.FoldKey | None = sqlite_fold.FOLD_START
        while behind is not None:
            batch, behind = await self._read(
                partial(sqlite_fold.read, self._reader, project, checkpoint, behind)
            )
            if batch:
                yield batch

    async def collect_fold(
        self, project: str, removals: Sequence[FoldRemoval], *, checkpoint: int = 0
    ) -> None:
        """``Store.collect_fold``, in several transactions. Nothing lands late here: no tombstone is kept."""
        await self._in_chunks(
            removals, lambda chunk: sqlite_fold.collect(self._writer, project, checkpoint, chunk)
        )

    async def fold_checkpoints(self) -> Mapping[str, Sequence[int]]:
        """``Store.fold_checkpoints``: exactly those that have a row."""
        return await self._read(lambda: sqlite_fold.checkpoints(self._reader))

    async def drop_fold(self, project: str, checkpoint: int) -> None:
        """``Store.drop_fold``, in transactions of at most ``FOLD_CHUNK_ROWS`` rows."""
        more = True

        def drop() -> None:
            nonlocal more
            more = sqlite_fold.drop(self._writer, project, checkpoint)

        while more:
            _raise_store_error(await self._commit.run(Job(drop)))

    async def read_member(self, slot: str) -> MemberRow | None:
        """``Store.read_member``."""
        try:
            return await self._read(lambda: sqlite_state.read_member(self._reader, slot))
        except ValueError as error:
            raise StoreUnavailable(f"{self._path}: {error}.") from error

    async def write_member(self, row: MemberRow) -> None:
        """``Store.write_member``."""
        job = Job(lambda: sqlite_state.write_member(self._writer, row))
        _raise_store_error(await self._commit.run(job))

    async def put_aside(self, record: AsideRecord) -> None:
        """``Store.put_aside``: bounded by ``aside_limit`` and ``ASIDE_BYTES_MAX``; one row per project and bytes."""
        job = Job(lambda: sqlite_state.put_aside(self._writer, record, limit=self._aside_limit))
        _raise_store_error(await self._commit.run(job))

    async def read_aside(self) -> Sequence[AsideRecord]:
        """``Store.read_aside``."""
        return await self._read(lambda: sqlite_state.read_aside(self._reader))

    async def _append(self, records: Sequence[LogRecord]) -> Outcome:
        if not records:
            await trio.lowlevel.checkpoint()
            return Outcome(Fate.WRITTEN)
        _check_all(records)
        log = self._log_writer
        return await self._commit.run(
            Job(lambda: log.insert(records), lambda: log.contains(records), weight=len(records))
        )

    async def _trim(
        self, project: str, through: Mapping[int, int], error_type: type[JournalError | StoreError]
    ) -> Outcome:
        left = await self._read(lambda: self._log_reader.below(project, through), error_type)

        def trim() -> None:
            nonlocal left
            left = self._log_writer.trim(left)

        outcome = Outcome(Fate.WRITTEN)
        while left and outcome.fate is Fate.WRITTEN:
            outcome = await self._commit.run(Job(trim))
        return outcome

    async def _in_chunks(self, items: Sequence[_T], write: Callable[[Sequence[_T]], None]) -> None:
        for start in range(0, len(items), sqlite_fold.FOLD_CHUNK_ROWS):
            chunk = items[start : start + sqlite_fold.FOLD_CHUNK_ROWS]
            outcome = await self._commit.run(Job(partial(write, chunk)))
            if start and outcome.fate is not Fate.WRITTEN:
                raise StoreIndeterminate(f"{outcome.message} The first {start} entries are written.")
            _raise_store_error(outcome)

    async def _read(
        self, read: Callable[[], _T], error_type: type[JournalError | StoreError] = StoreUnavailable
    ) -> _T:
        try:
            return await trio.to_thread.run_sync(read, limiter=self._reading)
        except sqlite3.Error as error:
            raise error_type(sqlite_file.explain(self._path, error)) from error


_JOURNAL_ERRORS: Final[Mapping[Fate, type[JournalError]]] = {
    Fate.NOT_WRITTEN: JournalFull,
    Fate.DAMAGED: JournalError,
    Fate.UNKNOWN: JournalIndeterminate,
}


def _raise_store_error(outcome: Outcome) -> None:
    if outcome.fate is Fate.UNKNOWN:
        raise StoreIndeterminate(outcome.message)
    if outcome.fate is not Fate.WRITTEN:
        raise StoreUnavailable(outcome.message)


def _check_all(records: Sequence[LogRecord]) -> None:
    if len(records) > APPEND_RECORDS_MAX:
        raise ValueError(f"{len(records)} records in one write, more than {APPEND_RECORDS_MAX}")
    for record in records:
        _check(record)


def _check(record: LogRecord) -> None:
    project, incarnation, seq, raw = record
    if not 0 < seq <= SEQ_MAX or not 0 < incarnation <= INCARNATION_MAX:
        raise ValueError(f"no dot: ({incarnation}, {seq})")
    if len(raw) > RECORD_BYTES_MAX:
        raise ValueError(f"a record of {len(raw)} bytes, more than {RECORD_BYTES_MAX}")
    project.encode()
