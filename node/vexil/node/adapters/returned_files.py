"""The files of a slot's earlier registrations: moved aside whole, found again at each start, removed at the end.

``node.db`` is the state of the registration that the slot has now, ``returned-<registration>.db`` one that is over and
whose changes have not all come back yet, ``damaged-<registration>.db`` one that is through but for damaged rows: it is
for a person, and no start reads it. SQLite must never find the write-ahead log of one file beside another, so the
file goes first and its log follows; a move that was cut short between the two is completed before anything is opened.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Self

import trio

from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.closing import closing
from vexil.node.seams import LogRecord, MemberRow, StoreIndeterminate, StoreUnavailable

STORE_FILE: Final = "node.db"
_BESIDE: Final = ("-wal", "-shm")
_RETURNED: Final = "returned-"
_DAMAGED: Final = "damaged-"
_PATTERN: Final = f"{_RETURNED}*.db"


def set_aside(folder: Path, registration: str, *, keep: bool) -> None:
    """Take ``node.db``, which nobody has open, out of the way: under its registration's name, or for good.

    Raises OSError; it may be repeated.
    """
    source = folder / STORE_FILE
    if not keep:
        # Its log first: alone, it would be taken for the log of a file that was moved.
        for ending in _BESIDE:
            _beside(source, ending).unlink(missing_ok=True)
        _sync(folder)
        source.unlink(missing_ok=True)
    elif source.exists():
        target = _unused(folder, registration)
        source.replace(target)
        _sync(folder)
        _follow(source, target)
    _sync(folder)


def complete(folder: Path) -> None:
    """Finish a move that was cut short: a write-ahead log without its file belongs to the last file moved aside."""
    source = folder / STORE_FILE
    if source.exists():
        return
    moved = sorted(folder.glob(_PATTERN), key=lambda path: path.stat().st_ctime_ns)
    if moved:
        _follow(source, moved[-1])
    else:
        for ending in _BESIDE:
            _beside(source, ending).unlink(missing_ok=True)
    _sync(folder)


def archives(folder: Path) -> Sequence[Path]:
    """The files that were moved aside and not removed yet, oldest first."""
    return sorted(folder.glob(_PATTERN), key=lambda path: (path.stat().st_ctime_ns, path.name))


class SqliteArchive:
    """``Archive`` of one file that was moved aside. Made by `open`."""

    def __init__(self, path: Path, store: SqliteStore, slot: str, row: MemberRow | None) -> None:
        self.slot = slot
        self.registration = "" if row is None else row.registration
        self._path = path
        self._store = store
        self._row = row

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, slot: str) -> AsyncIterator[Self]:
        """The archive in ``path``, which is ``slot``'s. Raises JournalError or StoreError."""
        async with SqliteStore.open(path) as store:
            yield cls(path, store, slot, await store.read_member(slot))

    @property
    def damaged(self) -> int:
        """``Archive.damaged``: a wrong checksum."""
        return self._store.damaged_records

    async def row(self) -> MemberRow | None:
        """``Archive.row``."""
        await trio.lowlevel.checkpoint()
        return self._row

    async def records(self) -> AsyncIterator[Sequence[LogRecord]]:
        """``Archive.records``, in the order in which they were applied: that is causal."""
        async with closing(self._store.replay(after={})) as batches:
            async for batch in batches:
                yield batch

    async def discard(self) -> None:
        """``Archive.discard``: close the file, and remove it or move it to ``damaged-``."""
        await self._store.aclose()
        try:
            await trio.to_thread.run_sync(partial(_keep if self.damaged else _remove, self._path))
        except OSError as error:
            failed = StoreIndeterminate if not self._path.exists() else StoreUnavailable
            raise failed(f"{self._path} cannot be removed: {error}") from error


def _unused(folder: Path, registration: str, *, prefix: str = _RETURNED) -> Path:
    """A name that no file has: somebody may have put an old copy of a state back that was moved aside before."""
    path = folder / f"{prefix}{registration}.db"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{prefix}{registration}-{number}.db"
    return path


def _keep(path: Path) -> None:
    if path.exists():
        target = _unused(path.parent, path.stem.removeprefix(_RETURNED), prefix=_DAMAGED)
        path.replace(target)
        _follow(path, target)
    _sync(path.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    for ending in _BESIDE:
        _beside(path, ending).unlink(missing_ok=True)
    _sync(path.parent)


def _follow(source: Path, target: Path) -> None:
    for ending in _BESIDE:
        log = _beside(source, ending)
        if log.exists():
            log.replace(_beside(target, ending))


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _sync(folder: Path) -> None:
    """A rename is durable when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
