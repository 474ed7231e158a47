"""What is done about a state that only grows: announcements, and on them garbage collection, retirement, retention.

This is where the three meet the node: it makes the node's own announcement from what the store has of each fold, says
whose announcements count, and answers up to where a project is stable.

While a record of the own journal still waits for its causes, nothing new is promised, in no project: `_system` would
say that the incarnation which wrote it has ended, and its end would be taken for known before it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Change, Dot
from vexil.crdt.garbage import FoldRemoval
from vexil.node.alarms import Alarms
from vexil.node.announcements import EARLIER, TWIN, Announcement, Announcements, Place
from vexil.node.collector import Collector
from vexil.node.directory import Directory, Registration
from vexil.node.engine_types import EngineSettings, Seams
from vexil.node.enrolment import Enrolment
from vexil.node.forks import Forks
from vexil.node.pipeline import Pipeline
from vexil.node.project import Project
from vexil.node.region_writer import RegionWriter
from vexil.node.retention import Retention
from vexil.node.retirement import Retirement
from vexil.node.seams import JournalError, StoreError
from vexil.node.stability import Blocked, Stable, counted, may_still_take, place_of, stability


class Home(Protocol):
    """The node."""

    settings: EngineSettings
    seams: Seams
    alarms: Alarms
    projects: dict[str, Project]
    system: Project
    directory: Directory
    enrolment: Enrolment
    forks: Forks
    pipeline: Pipeline
    writer: RegionWriter | None
    incarnation: int
    registration: str
    ready: bool

    def is_member(self, node: str, registration: str) -> bool:
        """Whether ``node`` is registered in our state, under just this registration."""

    def may_be_alive(self, node: str) -> bool:
        """Whether a member could be running."""


class Caretaker:
    """Announcements, garbage, retirement and retention of one node."""

    def __init__(self, home: Home) -> None:
        """Nothing is promised before `begin`."""
        self._home = home
        self._announcements = Announcements()
        self._pending: dict[str, set[Dot]] = {}
        self._held: Mapping[str, Mapping[int, int]] = {}
        """What the store had of each fold when the node started."""
        self._loaded: Mapping[str, Mapping[int, int]] = {}
        """What the node had then, with the journal's."""
        seams, settings = home.seams, home.settings
        self.collector = Collector(
            self, home.projects, seams.telemetry, seams.rng, interval_ms=settings.garbage_interval_ms
        )
        self.retirement = Retirement(
            self,
            home.pipeline,
            home.projects,
            seams.telemetry,
            seams.rng,
            author=f"node:{settings.name}",
            interval_ms=settings.garbage_interval_ms,
        )
        self.retention = Retention(
            self,
            home.projects,
            seams.store,
            seams.journal,
            clock=seams.clock,
            telemetry=seams.telemetry,
            rng=seams.rng,
            days=settings.log_retention_days,
        )

    # -- life

    def loaded(self, pending: Mapping[str, Iterable[Change]]) -> None:
        """The state is loaded and the writer made; ``pending`` are journal records whose causes are not here."""
        assert self._home.writer is not None
        self._pending = {name: {change.dot for change in changes} for name, changes in pending.items()}
        self._held = dict(self._home.writer.fold_stored)
        self._loaded = {name: dict(project.replica.vv) for name, project in self._home.projects.items()}

    def begin(self) -> None:
        """The node is a member, or was one: what its store has may be announced."""
        home = self._home
        assert home.writer is not None
        own = Place(home.settings.name, home.registration)
        start = home.writer.row.start
        above = home.seams.clock.wall_ms()
        self._announcements.become(own, start=start, above=above, life=home.incarnation)

    def twin(self, incarnation: int) -> None:
        """Another process has begun in our slot while this one runs."""
        self._home.alarms.twin(incarnation)
        self._announcements.dispute(incarnation, hlc=self._now())

    def live_on(self, incarnation: int, *, beside: int) -> None:
        """This process goes on as ``incarnation``: another one writes as ``beside``, which it was until now."""
        self._announcements.live_on(incarnation)
        self._announcements.dispute(beside, hlc=self._now())

    def _now(self) -> int:
        return hlcs.pack(self._home.seams.clock.wall_ms())

    async def run(self) -> None:
        """Take care until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.collector.run)
            nursery.start_soon(self.retirement.run)
            nursery.start_soon(self.retention.run)

    # -- announcements

    @property
    def announcements(self) -> Announcements:
        """All that are known here; our own is up to date."""
        writer = self._home.writer
        if writer is not None and self._announcements.own is not None:
            vectors = self._held if self._is_held() else writer.fold_stored
            overtaken = self._announcements.overtaken
            # Asked for with every message, and nearly always promised already.
            if not self._announcements.has_promised(vectors) and (
                overtaken is None or self._keeps(overtaken, vectors)
            ):
                self._announcements.announce(vectors, hlc=self._now())
        return self._announcements

    def take_announcements(self, announcements: Iterable[Announcement]) -> None:
        """Keep those that are newer and of places that count."""
        told = list(announcements)
        if not told:
            return
        places = {place_of(registration) for registration in self.counted()}
        own = self._announcements.own
        for announcement in told:
            if announcement.place == own:
                self._hear_of_ourselves(announcement)
            self._announcements.take(announcement, places)

    def _hear_of_ourselves(self, told: Announcement) -> None:
        """Our own registration's promise is told: perhaps by a twin, or of an earlier life that had more than we."""
        speaker = self._announcements.speaker(told)
        if speaker == TWIN:
            self._home.alarms.twin(told.version.life)
        elif speaker == EARLIER and not self._keeps(told, self._loaded):
            self._home.enrolment.overtaken()

    def follow_members(self) -> None:
        """`_system` has changed: perhaps somebody counts no more."""
        self._announcements.follow({place_of(registration) for registration in self.counted()})

    def _is_held(self) -> bool:
        for name, dots in list(self._pending.items()):
            project = self._home.projects.get(name)
            waiting = {} if project is None else project.waiting
            left = {dot for dot in dots if dot in waiting}
            if left:
                self._pending[name] = left
            else:
                del self._pending[name]
        return bool(self._pending)

    def _keeps(self, promise: Announcement, vectors: Mapping[str, Mapping[int, int]]) -> bool:
        """Whether ``vectors`` are all of ``promise``; of what is forked there are two, and nobody has both."""
        forked = self._home.forks.incarnations
        for name, vector in promise.vectors.items():
            project = self._home.projects.get(name)
            stored = vectors.get(name, {})
            retired = {} if project is None else project.replica.retired
            over = {*forked, *retired}
            if any(stored.get(i, 0) < seq and i not in over for i, seq in vector.items()):
                return False
        return True

    # -- what the three stand on

    def stability(self, project: Project) -> Stable | Blocked:
        """Up to where the project is at every member."""
        return stability(
            project.name,
            project.replica,
            self._home.system.replica,
            registrations=self._home.directory.registrations(),
            announcements=self.announcements,
        )

    def counted(self) -> Sequence[Registration]:
        """Whoever has to be waited for."""
        home = self._home
        return counted(home.directory.registrations(), self._announcements, home.system.replica)

    def may_still_take(self, slot: str, registration: str) -> list[str]:
        """Members that may still come with changes of a registration of ``slot`` that has ended."""
        home = self._home
        everybody = home.directory.registrations()
        ended = next((r for r in everybody if (r.slot, r.registration) == (slot, registration)), None)
        if ended is None:
            return []
        states = {name: project.replica for name, project in home.projects.items()}
        return may_still_take(ended, everybody, self.announcements, states)

    @property
    def may_collect(self) -> bool:
        """This node is ready, and a member."""
        home = self._home
        return home.ready and home.is_member(home.settings.name, home.registration)

    async def store_floor(self, project: Project) -> None:
        """Return when the store has the project's header with the floor as it is now."""
        assert self._home.writer is not None
        await self._home.writer.store_header(project.name)

    def note_removed(self, project: Project, removals: list[FoldRemoval]) -> None:
        """Have the store drop these rows."""
        assert self._home.writer is not None
        self._home.writer.note_removed(project.name, removals)

    @property
    def directory(self) -> Directory:
        """`_system`, read."""
        return self._home.directory

    @property
    def system(self) -> Project:
        """`_system` itself."""
        return self._home.system

    @property
    def running(self) -> int:
        """The incarnation under which this process writes."""
        return self._home.incarnation

    @property
    def forked(self) -> set[int]:
        """Incarnations with two histories."""
        return self._home.forks.incarnations

    @property
    def writes_for_all(self) -> bool:
        """This node is the first by name of the members that may be running."""
        home = self._home
        if not self.may_collect:
            return False
        earlier = sorted(
            slot for slot, m in home.directory.members.items() if m.registered and slot < home.settings.name
        )
        return not any(home.may_be_alive(slot) for slot in earlier)

    def store_failed(self, error: StoreError | JournalError) -> None:
        """Count and log it."""
        self._home.alarms.store_failed(error)

    # -- status

    def blocks_garbage(self, slot: str) -> bool:
        """Whether garbage of any project waits for a member."""
        return any(
            place.slot == slot for name in self._home.projects for place in self.collector.blockers(name)
        )

    def announced_ms(self, slot: str) -> int | None:
        """How long ago ``slot``, as it is registered now, last announced what it has; None if it never did."""
        member = self._home.directory.members.get(slot)
        told = None if member is None else self.announcements.of(Place(slot, member.registration))
        return None if told is None else max(0, self._home.seams.clock.wall_ms() - told.time_ms)

    def garbage_status(self) -> dict[str, Any]:
        """See `Collector.status`."""
        return self.collector.status(self._home.seams.clock.wall_ms())

    def log_status(self) -> dict[str, Any]:
        """See `Retention.status`."""
        return self.retention.status()
