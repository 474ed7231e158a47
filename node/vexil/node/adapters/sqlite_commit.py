"""Group commit: jobs that wait while a transaction is being written go into the next one together, in call order.

There is no background task. The first caller that finds nobody writing leads: it takes what waits, writes it in the
worker thread, tells each job how it went, and hands the lead to the first job that has come meanwhile.

What can be known after a failure decides everything else here:

- before COMMIT: rolled back, nothing written (definite);
- COMMIT failed, but the rows are visible: written. SQLite shows a transaction only after its sync;
- COMMIT failed while the frames were being written (disk full): the mark that ends a transaction is not in the file,
  so nothing written (definite);
- COMMIT failed in any other way, the sync above all: the frames may be found by the next process. Unknown, and the
  file is *sealed*: nobody can write to it through this object again.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

import trio

from vexil.node.adapters.sqlite_file import explain, is_damage

JOBS_WAITING_MAX: Final = 10_000
"""Writes that wait for their turn; one more is refused."""
GROUP_RECORDS_MAX: Final = 4_096
"""Records of one transaction, except that a single append is never split."""

_DEFINITE_AT_COMMIT: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY}
)


class Fate(Enum):
    """What became of a write."""

    WRITTEN = "written"
    NOT_WRITTEN = "not written"
    DAMAGED = "not written: the file is damaged"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of a group and one line for a person."""

    fate: Fate
    message: str = ""
    bug: Exception | None = None


@dataclass(eq=False, slots=True)
class Job:
    """One write: ``write`` inside a transaction; ``verify`` (if any) tells from a later read whether it is there.

    ``weight`` is its number of records if it may share a transaction with its neighbours, else 0.
    """

    write: Callable[[], None]
    verify: Callable[[], bool] | None = None
    weight: int = 0
    turn: trio.Event = field(default_factory=trio.Event)
    taken: bool = False
    outcome: Outcome = Outcome(Fate.NOT_WRITTEN)


class GroupCommit:
    """Owns the writing connection and the thread that it is used from."""

    def __init__(
        self, connection: sqlite3.Connection, *, path: Path, on_rollback: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._path = path
        self._on_rollback = on_rollback
        self._waiting: deque[Job] = deque()
        self._leading = False
        self._thread = trio.CapacityLimiter(1)
        self._sealed = ""
        self._closed = False

    async def run(self, job: Job) -> Outcome:
        """Write ``job`` in its turn. Cancelled before its turn it is not written at all; later it is completed."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            return Outcome(Fate.NOT_WRITTEN, f"{self._path}: closed.")
        if len(self._waiting) >= JOBS_WAITING_MAX:
            return Outcome(Fate.NOT_WRITTEN, f"{self._path}: {JOBS_WAITING_MAX} writes are waiting already.")
        self._waiting.append(job)
        if self._leading:
            await self._wait(job)
        else:
            self._leading = True
        if not job.taken:
            await self._lead()
        if job.outcome.bug is not None:
            raise job.outcome.bug
        return job.outcome

    async def close(self) -> None:
        """Let what waits be written, then close the connection. To be called once, shielded."""
        await self.run(Job(write=lambda: None))
        self._closed = True
        await trio.to_thread.run_sync(self._connection.close, limiter=self._thread)

    async def _wait(self, job: Job) -> None:
        try:
            await job.turn.wait()
        except trio.Cancelled:
            if not job.taken:
                self._waiting.remove(job)
                if job.turn.is_set():
                    self._pass_lead()
                raise
            # The disk has it already: the answer is worth more than to be quick.
            with trio.CancelScope(shield=True):
                await job.turn.wait()

    async def _lead(self) -> None:
        group = self._take()
        try:
            with trio.CancelScope(shield=True):
                outcome = await trio.to_thread.run_sync(self._commit, group, limiter=self._thread)
        except RuntimeError as error:
            outcome = Outcome(Fate.NOT_WRITTEN, f"{self._path}: no thread to write from: {error}.")
        for job in group:
            job.outcome = outcome
            job.turn.set()
        self._pass_lead()

    def _take(self) -> Sequence[Job]:
        group = [self._waiting.popleft()]
        weight = group[0].weight
        while weight and self._waiting and self._waiting[0].weight:
            weight += self._waiting[0].weight
            if weight > GROUP_RECORDS_MAX:
                break
            group.append(self._waiting.popleft())
        for job in group:
            job.taken = True
        return group

    def _pass_lead(self) -> None:
        if self._waiting:
            self._waiting[0].turn.set()
        else:
            self._leading = False

    # From here on: in the worker thread.

    def _commit(self, group: Sequence[Job]) -> Outcome:
        if self._sealed:
            return Outcome(Fate.UNKNOWN, self._sealed)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in group:
                job.write()
        except sqlite3.Error as error:
            self._roll_back()
            return Outcome(Fate.DAMAGED if is_damage(error) else Fate.NOT_WRITTEN, explain(self._path, error))
        except Exception as error:  # noqa: BLE001 - it is raised again, in the task that asked for the write
            # Not of the disk: a bug of ours, which must not leave the transaction open for the next group.
            self._roll_back()
            return Outcome(Fate.NOT_WRITTEN, bug=error)
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            return self._judge(group, error)
        return Outcome(Fate.WRITTEN)

    def _roll_back(self) -> bool:
        self._on_rollback()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # The transaction has no end mark, so no later process sees it. The next BEGIN will fail and say why.
            return False
        return True

    def _judge(self, group: Sequence[Job], failure: sqlite3.Error) -> Outcome:
        message = explain(self._path, failure)
        rolled_back = self._roll_back()
        try:
            visible = all(job.verify is not None and job.verify() for job in group)
        except sqlite3.Error as error:
            message = f"{message} Reading it back failed: {error}."
        else:
            if visible:
                return Outcome(Fate.WRITTEN)
            if rolled_back and getattr(failure, "sqlite_errorcode", 0) in _DEFINITE_AT_COMMIT:
                return Outcome(Fate.NOT_WRITTEN, message)
        self._sealed = f"{message} The commit may or may not be on the disk; nothing more is written."
        return Outcome(Fate.UNKNOWN, self._sealed)
