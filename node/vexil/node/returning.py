"""A node that has come back from an eviction: what its earlier state holds and nobody else has.

Each old change that the cluster lacks is looked at once, in the order in which it was made. One of the node's own is
issued again if nobody has written there since, under a dot of today; everything else is parked: kept in the project as
a conflict, for a person. Nothing of it is lost, and nothing of it overwrites what others did meanwhile.

It may be cut off anywhere and is begun again from the start: what an old change has become carries its idempotency
key, or else one that is made of its id, so it is found again in this node's log and never done twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, Final, Protocol

import trio

from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION, Change, Dot, Undecodable, decode, peek_deps
from vexil.crdt.payload import decode as decode_payload
from vexil.crdt.pen import CellWrite
from vexil.node import errors
from vexil.node.alarms import Alarms
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.reissue import (
    OTHER_ORIGIN,
    Address,
    Issued,
    Old,
    Park,
    judge,
    overlaid,
    parking,
    regardless,
)
from vexil.node.closing import closing
from vexil.node.directory import Directory
from vexil.node.earlier_returns import OwnWrites, keys_of, own_writes, return_key
from vexil.node.own_log import OwnLog
from vexil.node.pipeline import Committed, LocalJob, Pipeline
from vexil.node.project import Project
from vexil.node.seams import Archive, AsideRecord, LogRecord, SeamError, Store
from vexil.node.telemetry import Log

RETRY_MS_MIN: Final = 250
RETRY_MS_MAX: Final = 10_000
_OWN_SYSTEM, _OWN, _OTHERS = range(3)
_PASSES: Final = (_OWN_SYSTEM, _OWN, _OTHERS)
"""Projects and keys first; changes of others last, since they may still come by themselves."""


class Place(Protocol):
    """The node that has come back."""

    @property
    def projects(self) -> Mapping[str, Project]:
        """Every project that is here."""

    @property
    def directory(self) -> Directory:
        """`_system`, read."""

    @property
    def incarnation(self) -> int:
        """Under which this process writes."""

    def open_project(self, name: str) -> Project | None:
        """The project, made empty if it is not here; None if it cannot be."""

    @property
    def alarms(self) -> Alarms:
        """What is told of a change that is put aside."""

    @property
    def own_log(self) -> OwnLog:
        """The log."""

    def may_still_take(self, slot: str, registration: str) -> list[str]:
        """Members that may still come with changes of a registration of ``slot`` that has ended."""

    def admit_returned(self, intent: Intent) -> None:
        """Raises NodeNotReady while this node's writes are nobody's, or its stamps are not to be believed."""


class Returning:
    """Works through one archive. ``run`` of the pipeline must be running, and the node be ready."""

    def __init__(
        self,
        place: Place,
        pipeline: Pipeline,
        store: Store,
        archive: Archive,
        slot: str,
        *,
        log: Log,
        rng: Random,
    ) -> None:
        """Nothing is done yet."""
        self._place = place
        self._pipeline = pipeline
        self._store = store
        self._archive = archive
        self._slot = slot
        self._log = log
        self._rng = rng
        self._finished = False
        self._waits_for: list[str] = []
        """Members that may still take old changes."""
        self._begin()

    def _begin(self) -> None:
        self._changes = self._done = self._reissued = self._parked = 0
        self._own: set[int] = set()
        self._archived: set[int] = set()
        self._places: dict[int, tuple[str, str]] = {}
        self._contexts: dict[tuple[str, int], dict[int, int]] = {}
        self._issued: dict[str, Issued] = {}
        self._overlaid: dict[str, set[Address]] = {}
        self._earlier: dict[str, OwnWrites] = {}

    def status(self) -> dict[str, Any]:
        """How far it has come: old changes that the cluster lacked, done ones among them, and what they became.

        What is neither issued again nor parked is what the state says already.
        """
        return {
            "from": self._archive.registration,
            "changes": self._changes,
            "done": self._done,
            "reissued": self._reissued,
            "parked": self._parked,
            "finished": self._finished,
            "waits_for": self._waits_for,
        }

    async def run(self) -> None:
        """Return when all of it is through and the archive is let go."""
        await self._until_settled()
        await self._insist(self._work_through)
        damaged = self._archive.damaged
        await self._insist(self._archive.discard)
        if damaged:
            self._log.error(
                "the earlier state has damaged changes: its file is kept",
                registration=self._archive.registration,
                damaged=damaged,
            )
        # What has come by itself meanwhile was none of it.
        self._changes = self._done
        self._finished = True
        self._log.info("the earlier state is through", **self.status())

    async def _until_settled(self) -> None:
        """Wait until nobody can come with old changes by himself: what is issued again must not come twice.

        A member that has not heard of the eviction takes what was on its way to it, and passes it on. One that is gone
        for good is waited for until it is evicted, as everything waits for it.
        """
        while waits_for := self._place.may_still_take(self._slot, self._archive.registration):
            if waits_for != self._waits_for:
                self._log.info("the earlier state waits", waits_for=waits_for)
            self._waits_for = waits_for
            await trio.sleep(RETRY_MS_MIN * self._rng.uniform(0.5, 1.5) / 1000)
        self._waits_for = []

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        pause_ms = RETRY_MS_MIN
        while True:
            try:
                await work()
            except SeamError as error:
                self._log.warning("the earlier state cannot be read", error=str(error))
                await trio.sleep(pause_ms * self._rng.uniform(0.5, 1.5) / 1000)
                pause_ms = min(pause_ms * 2, RETRY_MS_MAX)
            else:
                return

    async def _work_through(self) -> None:
        self._begin()
        await self._look_through()
        for part in _PASSES:
            await self._pass(part)

    # -- reading the archive

    async def _look_through(self) -> None:
        """Whose incarnations there are, and how much is to do."""
        row = await self._archive.row()
        if row is not None:
            self._own.add(row.incarnation)
        members = self._place.directory.members
        self._own |= set(members[self._slot].incarnations) if self._slot in members else set()
        async with closing(self._archive.records()) as batches:
            async for batch in batches:
                for record in batch:
                    if record.project == schema.SYSTEM_PROJECT:
                        self._note_incarnations(record.raw)
                    self._archived.add(record.incarnation)
                    self._changes += not self._known(record)
                await trio.lowlevel.checkpoint()

    def _note_incarnations(self, raw: bytes) -> None:
        try:
            change = decode(raw)
        except Undecodable:
            return
        for operation in change.operations:
            kind, slot = schema.parse_object(operation.object) or ("", "")
            part = schema.parse_field(kind, operation.generation, operation.field)
            if kind == schema.MEMBER and part.part == schema.INCARNATION:
                home = decode_payload(operation.payload).value
                try:
                    incarnation = int(part.name, 16)
                except ValueError:
                    continue
                region = home.get("region") if isinstance(home, dict) else None
                self._places[incarnation] = (slot, region if isinstance(region, str) else "")
                if slot == self._slot:
                    self._own.add(incarnation)

    def _known(self, record: LogRecord) -> bool:
        project = self._place.projects.get(record.project)
        return project is not None and project.replica.known(record.incarnation) >= record.seq

    async def _pass(self, part: int) -> None:
        self._contexts.clear()
        async with closing(self._archive.records()) as batches:
            async for batch in batches:
                for record in batch:
                    if self._part(record) == part:
                        context = self._context(record) if part != _OTHERS else {}
                        if not self._known(record):
                            await self._take(record, context)
                            self._done += 1
                await trio.lowlevel.checkpoint()

    def _context(self, record: LogRecord) -> Mapping[int, int]:
        """What the author of ``record`` had seen, who has seen all that his earlier changes had."""
        context = self._contexts.setdefault((record.project, record.incarnation), {})
        context.update(peek_deps(record.raw))
        context[record.incarnation] = record.seq - 1
        return context

    def _part(self, record: LogRecord) -> int:
        if record.incarnation not in self._own:
            return _OTHERS
        return _OWN_SYSTEM if record.project == schema.SYSTEM_PROJECT else _OWN

    # -- one old change

    async def _take(self, record: LogRecord, context: Mapping[int, int]) -> None:
        project = self._place.open_project(record.project)
        try:
            change = decode(record.raw)
        except Undecodable as error:
            await self._put_aside(record, str(error))
            return
        if project is None:
            await self._put_aside(record, "its project cannot be opened")
            return
        issued = self._issued.setdefault(project.name, Issued())
        own = record.incarnation in self._own
        earlier = await self._became(project, change)
        if earlier is not None:
            issued.note(change.dot, earlier)
            self._count(parked=_is_parked(project, change))
            return
        if project.name not in self._overlaid:
            # The first one that no earlier run has come to: what else the node has written is its clients'.
            self._overlaid[project.name] = self._earlier[project.name].touched_by_others(issued)
        old = Old(change, context, issued, self._slot, own, self._overlaid[project.name])
        if not own:
            await self._keep(project, record, old, OTHER_ORIGIN)
            return
        try:
            committed = await self._issue(project, old)
        except _Parked as parked:
            await self._keep(project, record, old, parked.reason)
            return
        if committed.dot is not None:
            issued.note(change.dot, committed.dot)
            self._count(parked=False)

    async def _put_aside(self, record: LogRecord, why: str) -> None:
        aside = AsideRecord(record.project, f"returned: {why}", self._slot, record.raw)
        await self._store.put_aside(aside)
        self._place.alarms.aside(aside)
        self._parked += 1

    def _count(self, *, parked: bool) -> None:
        self._parked += parked
        self._reissued += not parked

    async def _issue(self, project: Project, old: Old) -> Committed:
        """Raises _Parked."""
        change = old.change
        touched = self._overlaid[project.name]

        def decide(view: Project) -> Intent:
            if view.replica.known(change.incarnation) >= change.seq:
                return Intent()
            judged = judge(view, old)
            if isinstance(judged, Park):
                raise _Parked(judged.reason)
            touched.update(overlaid(view, old, judged.intent.writes))
            return judged.intent

        note = f"issued again: it was {change.id}"
        message = f"{change.message} ({note})" if change.message else note
        for key in keys_of(change):
            # By the region's log it may stand for the old change, for which nobody waits any more.
            project.idempotency.forget(key[0], change.dot)
            try:
                committed = await self._write(project, decide, change.author, message, key)
            except errors.IdempotencyMismatch:
                # Its client has used the key for something else since.
                continue
            except errors.ApiError as error:
                raise _Parked(error.code) from None
            if committed.dot != change.dot:
                return committed
        raise _Parked(errors.IdempotencyMismatch().code)

    async def _keep(self, project: Project, record: LogRecord, old: Old, reason: str) -> None:
        """Park it, or put it aside if that cannot be: one change never keeps the others from coming back."""
        dot = old.change.dot
        if old.issued.today(dot) != dot:
            # Parked under its id, it would overwrite what that one has become.
            await self._put_aside(record, "another change has its id")
            return
        try:
            await self._park(project, old, reason)
        except errors.ApiError as error:
            await self._put_aside(record, f"it cannot be parked: {error.code}")

    async def _park(self, project: Project, old: Old, reason: str) -> None:
        """Raises ApiError."""
        change = old.change
        place = self._place.directory.place_of(change.incarnation) or self._places.get(change.incarnation)
        message = f"kept for a person: {change.id} was not issued again ({reason})"
        touched = self._overlaid[project.name]
        pages = parking(old, reason=reason, place=place)
        # The first one goes last: where it is, the others are.
        for number, page in reversed([*enumerate(pages)]):

            def decide(
                view: Project, page: Sequence[CellWrite] = page, *, first: bool = number == 0
            ) -> Intent:
                if view.replica.known(change.incarnation) >= change.seq:
                    return Intent()
                more = regardless(view, old) if first else []
                touched.update(overlaid(view, old, more))
                return Intent([*more, *page], reads=frozenset(o.object for o in change.operations))

            suffix = f"/{number}" if number else ""
            key = (f"{return_key(change)}{suffix}", change.chain)
            committed = await self._write(project, decide, f"node:{self._slot}", message, key)
            if not number and committed.dot is not None:
                # What was done all the same is ours.
                self._issued[project.name].note(change.dot, committed.dot)
                self._count(parked=True)

    async def _write(
        self,
        project: Project,
        decide: Callable[[Project], Intent],
        author: str,
        message: str,
        key: tuple[str, bytes],
    ) -> Committed:
        pause_ms = RETRY_MS_MIN
        while True:
            job = LocalJob(project, decide, author, message, key, admit=self._place.admit_returned)
            try:
                return await self._pipeline.write(job)
            except (errors.RateLimited, errors.DurabilityUnavailable, errors.NodeNotReady):
                await trio.sleep(pause_ms * self._rng.uniform(0.5, 1.5) / 1000)
                pause_ms = min(pause_ms * 2, RETRY_MS_MAX)
            except errors.WriteIndeterminate:
                # The pipeline has ended with JournalIndeterminate, which ends the node.
                await trio.sleep_forever()

    # -- what was done before a crash

    async def _became(self, project: Project, change: Change) -> Dot | None:
        """What an earlier run has made of ``change``."""
        earlier = self._earlier.get(project.name)
        if earlier is None:
            earlier = await own_writes(self._place.own_log, project.name, self._since_return(project))
            self._earlier[project.name] = earlier
            if earlier.unreadable:
                self._log.warning(
                    "own changes are of a newer version", project=project.name, changes=earlier.unreadable
                )
        return earlier.became(project, change)

    def _since_return(self, project: Project) -> dict[int, int]:
        """Up to where this registration has written."""
        member = self._place.directory.members.get(self._slot)
        mine = {self._place.incarnation, *(() if member is None else member.incarnations)}
        return {i: seq for i, seq in project.replica.vv.items() if i in mine and i not in self._archived}


class _Parked(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _is_parked(project: Project, change: Change) -> bool:
    return bool(project.replica.cells(schema.parked_object(change.dot)).get(NO_GENERATION))
