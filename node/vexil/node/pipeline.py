"""The one way into a node's state: judge, journal, apply; for local writes and for received changes alike.

Jobs are taken in batches. Within a batch received changes come first, local writes after them; everything is judged
against the state before the batch, journalled in one append, and only then applied, change by change. Two local
writes that touch one object never share a batch, so each is decided on the exact state that its change builds on
("the author's context is the node's state"). Nothing is visible, sent or confirmed before it is in the journal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import trio

from vexil.crdt.change import Change, Dot, TooLarge
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import EXISTS
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.project import Project
from vexil.node.seams import (
    AsideRecord,
    Journal,
    JournalFull,
    JournalIndeterminate,
    LogRecord,
    PeerError,
)

BATCH_CHANGES_MAX = 4_096
BATCH_LOCAL_MAX = 256
BATCH_BYTES_MAX = 8 << 20
QUEUED_LOCAL_MAX = 4_096
QUEUED_REMOTE_MAX = 64
"""Received pages that wait for the journal; beyond it senders wait."""

Decide = Callable[[Project], Intent]


@dataclass(frozen=True, slots=True)
class Committed:
    """The outcome of a local write: its change (None: nothing to write) and whether an earlier try had made it."""

    dot: Dot | None
    hlc: int | None
    replayed: bool = False


@dataclass(slots=True)
class LocalJob:
    """A write that waits for its turn."""

    project: Project
    decide: Decide
    author: str
    message: str
    idempotency: tuple[str, bytes] | None
    done: trio.Event = field(default_factory=trio.Event)
    outcome: Committed | None = None
    error: Exception | None = None
    admit: Callable[[Intent], None] | None = None
    """May refuse a decided intent (durability, clock) before anything is journalled."""


@dataclass(slots=True)
class RemoteJob:
    """Received changes of one project that wait for their turn, in the sender's order of application."""

    project: Project
    changes: Sequence[Change]
    sender: str
    admit: Callable[[], None] = lambda: None
    """Asked when its turn comes: raises PeerError if nothing may be taken from the sender any more."""
    done: trio.Event = field(default_factory=trio.Event)
    applied: int = 0
    gap: bool = False
    """Some change could not be applied yet: something before it is missing."""
    forked: bool = False
    error: Exception | None = None


class Observer(Protocol):
    """Who is told of what the pipeline has done. No method may yield or raise."""

    def tick(self) -> int:
        """The HLC of a new local change."""

    def observe(self, change: Change) -> None:
        """A received change is about to be applied: take its HLC and its lag into account."""

    def applied(self, project: Project, change: Change, *, local: bool) -> None:
        """A change is in the journal and in memory."""

    def advanced(self, project: Project) -> None:
        """A batch has been applied to ``project``."""

    def forked(self, project: Project, change: Change, sender: str) -> None:
        """``change`` contradicts what is known of its incarnation."""

    def below_floor(self, project: Project, change: Change) -> None:
        """The author of ``change`` had not seen all that has been collected here."""

    def put_aside(self, record: AsideRecord) -> None:
        """A change is not taken in and must be kept for a person."""

    def journalled(self, records: int, seconds: float) -> None:
        """One append went through."""

    def journal_full(self, error: JournalFull) -> None:
        """An append failed for good; nothing of it was written."""


@dataclass(slots=True)
class _Batch:
    records: list[LogRecord] = field(default_factory=list)
    size: int = 0
    staged: list[tuple[Project, Change, LocalJob | None]] = field(default_factory=list)
    remote: list[RemoteJob] = field(default_factory=list)
    touched: set[tuple[str, str]] = field(default_factory=set)
    keys: set[tuple[str, str]] = field(default_factory=set)
    frontiers: dict[str, Frontier] = field(default_factory=dict)

    def stage(self, project: Project, change: Change, job: LocalJob | None) -> None:
        self.staged.append((project, change, job))
        self.records.append(LogRecord(project.name, change.incarnation, change.seq, change.raw))
        self.size += len(change.raw)

    def frontier(self, project: Project) -> Frontier:
        frontier = self.frontiers.get(project.name)
        if frontier is None:
            frontier = self.frontiers[project.name] = Frontier(project.replica, project.forked)
        return frontier

    @property
    def full(self) -> bool:
        return len(self.records) >= BATCH_CHANGES_MAX or self.size >= BATCH_BYTES_MAX


class Pipeline:
    """Takes jobs, one batch after another. `run` must be running for `write` and `receive` to return."""

    def __init__(self, journal: Journal, observer: Observer, incarnation: int) -> None:
        """A pipeline whose local changes carry ``incarnation``."""
        self._journal = journal
        self._observer = observer
        self.incarnation = incarnation
        self._local: list[LocalJob] = []
        self._remote: list[RemoteJob] = []
        self._room = trio.CapacityLimiter(QUEUED_REMOTE_MAX)
        self._wake = trio.Event()
        self._turns = trio.Lock()
        self._pens: dict[str, Pen] = {}

    @property
    def queued(self) -> int:
        """Local writes that wait for their turn."""
        return len(self._local)

    def reincarnate(self, incarnation: int) -> None:
        """From the next batch on, local changes carry ``incarnation``."""
        self.incarnation = incarnation
        self._pens.clear()

    async def write(self, job: LocalJob) -> Committed:
        """Queue ``job`` and return its outcome once it is journalled and applied.

        Cancelled before its turn, it is withdrawn; once its turn has come, the write happens, and the cancelled
        caller does not learn of it. Raises the ApiError of its decision, RateLimited, DurabilityUnavailable (disk
        full) or WriteIndeterminate.
        """
        if len(self._local) >= QUEUED_LOCAL_MAX:
            raise errors.RateLimited("too many writes are waiting here")
        self._local.append(job)
        self._wake.set()
        try:
            await job.done.wait()
        except trio.Cancelled:
            if job in self._local:
                self._local.remove(job)
            raise
        if job.error is not None:
            raise job.error
        assert job.outcome is not None, "a finished job has an outcome or an error"
        return job.outcome

    async def receive(self, job: RemoteJob) -> RemoteJob:
        """Queue received changes and return once those that fit are journalled and applied.

        Raises JournalFull if nothing could be journalled, and what ``admit`` of the job raises.
        """
        async with self._room:
            self._remote.append(job)
            self._wake.set()
            try:
                await job.done.wait()
            except trio.Cancelled:
                # Nobody waits for it any more, and its place is given to another: it must not stay in the queue.
                if job in self._remote:
                    self._remote.remove(job)
                raise
        if job.error is not None:
            raise job.error
        return job

    async def run(self) -> None:
        """Work until cancelled. Raises JournalIndeterminate: the process must then start anew."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._local or self._remote:
                async with self._turns:
                    await self._turn()
                # Who was just answered often comes with the next write: let them in before the next sync of the disk.
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Keep every batch away while the block runs: nothing is judged, journalled or applied meanwhile.

        It begins between two batches; those who ask get their turns in the order of asking. Jobs go on queueing and
        are judged against whatever state the block leaves behind. Keep the block short, and neither `write` nor
        `receive` in it: they would wait for ever.
        """
        async with self._turns:
            try:
                yield
            finally:
                # Between batches a pen holds nothing that its replica does not say as well.
                self._pens.clear()

    async def _turn(self) -> None:
        batch = _Batch()
        while self._remote and not batch.full:
            job = self._remote.pop(0)
            self._judge(job, batch)
            batch.remote.append(job)
        # However much comes from peers, local writes have room of their own in every batch: a region that catches up
        # takes writes, kills above all.
        room = batch.size + BATCH_BYTES_MAX
        taken = self._local[:BATCH_LOCAL_MAX]
        del self._local[: len(taken)]
        self._local[:0] = [local for local in taken if batch.size >= room or not self._decide(local, batch)]
        try:
            if batch.records:
                # Once handed to the disk it is seen through: an abandoned append would be an unknown outcome.
                began_s = trio.current_time()
                with trio.CancelScope(shield=True):
                    await self._journal.append(batch.records)
                self._observer.journalled(len(batch.records), trio.current_time() - began_s)
        except JournalFull as error:
            self._fail(batch, error)
            return
        except JournalIndeterminate:
            for _, change, failed in batch.staged:
                if failed is not None:
                    failed.error = errors.WriteIndeterminate(change.id)
                    failed.done.set()
            raise
        self._apply(batch)

    # -- received changes

    def _judge(self, job: RemoteJob, batch: _Batch) -> None:
        project = job.project
        try:
            job.admit()
        except PeerError as error:
            job.error = error
            return
        frontier = batch.frontier(project)
        candidates = [*job.changes]
        if project.waiting:
            candidates += project.waiting.values()
        for place, change in enumerate(candidates):
            verdict = frontier.verdict(change)
            if verdict is Verdict.NEXT:
                if change.incarnation == self.incarnation:
                    # Nobody but this process writes under its incarnation: somebody runs a copy of it.
                    self._observer.forked(project, change, job.sender)
                    job.forked = True
                frontier.admit(change)
                batch.stage(project, change, None)
                job.applied += 1
            elif verdict is Verdict.DUPLICATE:
                if change.seq <= project.replica.known(change.incarnation):
                    project.waiting.pop(change.dot, None)
            elif verdict is Verdict.WAITING:
                # What waited before is no gap of this sender's.
                job.gap = job.gap or place < len(job.changes)
                project.wait(change)
            elif place >= len(job.changes) and frontier.has_ended(change.incarnation):
                # What it has waited for has not come, and its incarnation has ended without both. That is no fork: its
                # node was evicted, and issues it again when it is back.
                project.waiting.pop(change.dot, None)
            else:
                project.waiting.pop(change.dot, None)
                if verdict is Verdict.BELOW_FLOOR:
                    self._observer.below_floor(project, change)
                else:
                    job.forked = True
                    self._observer.forked(project, change, job.sender)
                self._observer.put_aside(AsideRecord(project.name, verdict.value, job.sender, change.raw))

    # -- local writes

    def _decide(self, job: LocalJob, batch: _Batch) -> bool:
        """Stage the job or finish it; False if it must wait for the next batch."""
        project = job.project
        name = project.name
        if job.idempotency is not None:
            if (name, job.idempotency[0]) in batch.keys:
                return False
            earlier = project.idempotency.lookup(job.idempotency[0])
            if earlier is not None:
                if earlier.fingerprint != job.idempotency[1]:
                    job.error = errors.IdempotencyMismatch()
                else:
                    job.outcome = Committed(earlier.dot, earlier.hlc, replayed=True)
                job.done.set()
                return True
        try:
            intent = job.decide(project)
            objects = {(name, w.object) for w in intent.writes} | {(name, o) for o in intent.reads}
            if objects & batch.touched:
                return False
            if job.admit is not None:
                job.admit(intent)
            if not intent.writes:
                job.outcome = Committed(None, None)
                job.done.set()
                return True
            pen = self._pens.get(name)
            if pen is None:
                pen = self._pens[name] = Pen(project.replica, self.incarnation)
            change = pen.write(
                intent.writes,
                hlc=self._observer.tick(),
                author=job.author,
                message=job.message,
                idempotency=job.idempotency,
                before=lambda w: _shown(project, w),
            )
        except TooLarge as error:
            job.error = errors.LimitExceeded("change_bytes", str(error))
            job.done.set()
            return True
        except Exception as error:  # noqa: BLE001 - one bad request must not stop the writes of others; it is re-raised in its own task
            job.error = error
            job.done.set()
            return True
        batch.touched |= objects
        if job.idempotency is not None:
            batch.keys.add((name, job.idempotency[0]))
        batch.stage(project, change, job)
        return True

    # -- after the journal

    def _apply(self, batch: _Batch) -> None:
        projects: dict[str, Project] = {}
        by_project: dict[str, list[Change]] = {}
        for project, change, job in batch.staged:
            if job is None:
                self._observer.observe(change)
            project.replica.apply(change)
            # Not earlier: what the journal refuses goes on waiting.
            project.waiting.pop(change.dot, None)
            project.idempotency.register(change)
            project.changes_applied += 1
            projects[project.name] = project
            by_project.setdefault(project.name, []).append(change)
            self._observer.applied(project, change, local=job is not None)
        for name, project in projects.items():
            project.refresh(by_project[name])
        for _, change, job in batch.staged:
            if job is not None:
                job.outcome = Committed(change.dot, change.hlc)
                job.done.set()
        for remote in batch.remote:
            remote.done.set()
        for project in projects.values():
            self._observer.advanced(project)
            self.look_again(project)

    def look_again(self, project: Project) -> None:
        """Take what has waited, if its time may have come."""
        frontier = Frontier(project.replica, project.forked)
        if any(frontier.verdict(change) is Verdict.NEXT for change in project.waiting.values()):
            self._remote.append(RemoteJob(project, (), "waiting"))
            self._wake.set()

    def _fail(self, batch: _Batch, error: JournalFull) -> None:
        self._observer.journal_full(error)
        for pen in self._pens.values():
            pen.rewind()
        for _, _, job in batch.staged:
            if job is not None:
                job.error = errors.DurabilityUnavailable(f"this node's journal takes nothing: {error}")
                job.done.set()
        for remote in batch.remote:
            remote.applied = 0
            remote.error = error
            remote.done.set()


def _shown(project: Project, write: CellWrite) -> object:
    """What the audit trail says was there before; nothing for existence, which every edit writes anew."""
    if write.field == EXISTS:
        return None
    return project.shown_value(write.object, write.generation, write.field)
