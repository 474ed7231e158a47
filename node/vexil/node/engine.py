"""A node without its adapters: everything that Vexil does, over the seams of `vexil.node.seams`.

Start: load and write the member row under a fresh incarnation (`loading`), become a member or say that a new
incarnation has begun, make one bounded try to catch up; then the node is ready. From there on clients write through
`Writing`, their changes and the received ones go through one `Pipeline`, the store is told by one `RegionWriter`, and
peers are met by `gossip`. The engine itself only ties these together: it is the pipeline's observer and gossip's host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt import schema
from vexil.crdt.change import Change, Dot
from vexil.crdt.replica import Replica
from vexil.node import errors, leaving, loading, status, upkeep
from vexil.node.alarms import Alarms
from vexil.node.announcements import Announcement, Announcements
from vexil.node.authoring.intent import Intent
from vexil.node.backup import Backups
from vexil.node.caretaker import Caretaker
from vexil.node.clock_guard import ClockGuard
from vexil.node.directory import Directory
from vexil.node.durability import Durability
from vexil.node.engine_types import EngineSettings, Seams, Written
from vexil.node.enrolment import EVICTED, Enrolment
from vexil.node.following import Following
from vexil.node.forks import Forks, fresh_incarnation
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.intake import stop
from vexil.node.gossip.links import Links
from vexil.node.gossip.loops import Loops
from vexil.node.gossip.messages import PROJECTS_MAX
from vexil.node.gossip.past import Past
from vexil.node.gossip.peers import Freshness, Peer
from vexil.node.gossip.service import PeerService
from vexil.node.history import History
from vexil.node.leaving import Leaving
from vexil.node.membership import refusal, registration_of
from vexil.node.own_log import OwnLog
from vexil.node.pipeline import Pipeline, RemoteJob
from vexil.node.project import Project
from vexil.node.recall import Recall
from vexil.node.region_writer import RegionWriter
from vexil.node.repair import Repairs
from vexil.node.repair_report import Repair
from vexil.node.restoring import Restoring
from vexil.node.returning import Returning
from vexil.node.seams import (
    AsideRecord,
    JournalFull,
    PeerIdentity,
    PeerRefused,
    StoreError,
)
from vexil.node.signal import Signal
from vexil.node.snapshots import BelowFloor, Snapshots
from vexil.node.stranded import Stranded
from vexil.node.told import Told
from vexil.node.writing import Writing


class Engine:
    """One node. `run` must be running; every other method may be called from any task of the same trio loop."""

    def __init__(self, settings: EngineSettings, seams: Seams) -> None:
        """A node that has not loaded anything yet."""
        self.settings = settings
        self.seams = seams
        self.alarms = Alarms(seams.telemetry, seams.log)
        self.identity = PeerIdentity(settings.name, settings.region)
        self._nursery: trio.Nursery | None = None
        self.incarnation = fresh_incarnation(seams.entropy)
        self.registration = registration_of(self.incarnation)
        self.clock = hlcs.HybridClock(ahead_limit_ms=settings.clock_skew_limit_ms)
        self.projects: dict[str, Project] = {}
        self.system = Project(schema.SYSTEM_PROJECT, Replica(), on_defect=self.alarms.defect)
        self.forks = Forks(self.alarms, self._on_fork)
        self.system.forked = self.forks.incarnations
        self.stranded = Stranded(self._on_stranded)
        self.directory = Directory(self.system)
        self.peers: dict[str, Peer] = {}
        self.links = Links()
        self.freshness = Freshness()
        self.clock_guard = ClockGuard(
            self.clock,
            seams.clock,
            self.directory,
            self.peers,
            seams.telemetry,
            skew_limit_ms=settings.clock_skew_limit_ms,
        )
        self.ready = False
        self.serving_peers = False
        self.own_log = OwnLog(seams.journal, seams.store, self.forks)
        self.writing = Writing(self)
        self.leaving = Leaving(lambda: self.registration)
        self.owed: dict[str, dict[int, int]] = {}
        self.recall: Recall | None = None
        self.acknowledged = Signal()
        self._became_ready = Signal()
        self.stored_registration: str | None = None
        self._system_changes: list[Change] = []
        self.pipeline = Pipeline(seams.journal, self, self.incarnation)
        self._exchange = Exchange(
            self, seams.transport, self.links, self.freshness, on_ack=self.acknowledged.notify
        )
        self.snapshots = Snapshots(
            self,
            self._exchange,
            self.pipeline,
            store=seams.store,
            journal=seams.journal,
            writer=self._own_writer,
            rng=seams.rng,
        )
        self._exchange.on_behind = self.snapshots.take
        self.enrolment = Enrolment(
            self,
            self._exchange,
            self.pipeline,
            settings,
            seams.rng,
            snapshot=self.snapshots.take,
            on_standing=self.alarms.standing,
            must_return=self.leaving.must_return,
        )
        self.loops = Loops(self, self._exchange, self.peers, settings.gossip, seams.rng)
        self.following = Following(
            self, self.loops, on_settled=lambda: self.writing.advanced(schema.SYSTEM_PROJECT)
        )
        self.peer_service = PeerService(
            self,
            self.links,
            self.freshness,
            self.peers,
            on_gap=self.loops.want_pull,
        )
        self.backups = Backups(self, seams.store, seams.log)
        self.restoring = Restoring(self, self.snapshots, seams.store, seams.log)
        self.past = Past(
            self,
            self._exchange,
            self.peers,
            seams.store,
            seams.rng,
            retention_days=settings.log_retention_days,
            on_refused=self.alarms.past_refused,
        )
        self.coming_back = (
            None
            if seams.archive is None
            else Returning(
                self, self.pipeline, seams.store, seams.archive, settings.name, log=seams.log, rng=seams.rng
            )
        )
        self.repairs = Repairs(
            self, self._exchange, self.pipeline, self.peers, seams.store, self._own_writer, rng=seams.rng
        )
        self.writer: RegionWriter | None = None
        self.durability: Durability | None = None
        self.history = History(seams.store, self.directory)
        self.caretaker = Caretaker(self)
        self.told: Told = self.caretaker

    # -- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load, join, serve, until cancelled; ``task_status.started()`` is called when the node is ready.

        Raises what `startup.load` raises, and JournalIndeterminate: the process must then start anew. Raises
        MustReturn when it must start anew from an empty state.
        """
        with leaving.unwrapped():
            await self._run(task_status)

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        await self._load()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            assert self.writer is not None
            nursery.start_soon(self.writer.run)
            nursery.start_soon(self.pipeline.run)
            nursery.start_soon(self.following.run)
            nursery.start_soon(self.leaving.until_wanted)
            comes_back = self.is_member(self.name, self.registration)
            level = False
            if comes_back:
                # Before it writes anything of its own: its folder may be an older copy, and what is written on a state
                # that others have collected garbage from is refused by them.
                self.caretaker.begin()
                level = await self.loops.catch_up(timeout_ms=self.settings.catch_up_ms)
            await self.enrolment.become_member(self.stored_registration)
            if not comes_back:
                self.caretaker.begin()
            self.serving_peers = True
            nursery.start_soon(self.peer_service.snapshots.run)
            nursery.start_soon(self.peer_service.repairs.run)
            nursery.start_soon(self.enrolment.reunite)
            nursery.start_soon(self.loops.run)
            if not level:
                await self.loops.catch_up(timeout_ms=self.settings.catch_up_ms)
            await loading.get_back(self)
            self.ready = True
            self._became_ready.notify()
            self.seams.log.info("ready", node=self.settings.name, incarnation=f"{self.incarnation:016x}")
            task_status.started()
            nursery.start_soon(self._look_after)
            nursery.start_soon(self.caretaker.run)
            nursery.start_soon(
                upkeep.drop_stale_folds, self.seams.store, self.writer, self.alarms.store_failed
            )
            if self.coming_back is not None:
                nursery.start_soon(self.coming_back.run)
            nursery.start_soon(self.past.run)
            nursery.start_soon(self.repairs.run)
            for name in self.projects:
                if self.writer.checkpoint(name):
                    # It has come as a whole once; what of its log has followed, the log itself tells.
                    self.past.want(name)

    async def _look_after(self) -> None:
        # One after the other: a thread that reads the log hardly gets on while the event loop is busy counting.
        assert self.recall is not None
        await self.recall.run()
        await upkeep.Upkeep(self.projects, self.seams.clock, self.seams.rng).run()

    async def until_ready(self) -> None:
        """Return when the node is ready."""
        while not self.ready:
            await self._became_ready.wait()

    async def drain(self) -> None:
        """Before a planned stop: write what the store does not have yet. Bounded by the caller."""
        if self.writer is not None:
            await self.writer.flush()

    async def _load(self) -> None:
        await loading.fill(self)

    # -- what the interfaces call

    def project(self, name: str) -> Project | None:
        """The project, if it exists for users (or is `_system`)."""
        state = self.directory.projects.get(name)
        if name == schema.SYSTEM_PROJECT or (state is not None and state.exists):
            return self.projects.get(name) or self.open_project(name)
        return None

    def project_names(self) -> list[str]:
        """Projects that exist, sorted, without `_system`."""
        return sorted(name for name, state in self.directory.projects.items() if state.exists)

    async def write(
        self,
        project: str,
        decide: Callable[[Project], Intent],
        *,
        author: str,
        message: str = "",
        idempotency: tuple[str, bytes] | None = None,
        durability: str = "",
        retry_of: Dot | None = None,
    ) -> Written:
        """Decide and write one change; return when it is as durable as asked. See `Writing.write`."""
        return await self.writing.write(
            project,
            decide,
            author=author,
            message=message,
            idempotency=idempotency,
            durability=durability,
            retry_of=retry_of,
        )

    async def wait_for(self, project: str, vv: Mapping[int, int], timeout_ms: float) -> bool:
        """Wait until the project's state covers ``vv``; False if time ran out. See `Writing.wait_for`."""
        return await self.writing.wait_for(project, vv, timeout_ms)

    def as_of_ms(self) -> dict[str, int | None]:
        """Per region, how old the oldest knowledge of one of its members is; None: never heard."""
        return status.as_of_ms(self)

    def status(self) -> dict[str, Any]:
        """What ``GET /api/v1/status`` answers; made from memory alone."""
        return status.status(self)

    @property
    def name(self) -> str:
        """The slot."""
        return self.settings.name

    def members(self) -> list[dict[str, Any]]:
        """What ``GET /api/v1/members`` lists; made from memory alone."""
        return status.members(self)

    def return_now(self) -> None:
        """Begin anew as a new registration, soon. Raises MemberRefused for a member."""
        self.enrolment.return_now()

    def admit_returned(self, intent: Intent) -> None:
        """Raises NodeNotReady while an old change cannot be issued again."""
        self.enrolment.admit_write()
        self.clock_guard.admit(intent)

    def admit_restore(self) -> None:
        """Raises NodeNotReady while a whole state cannot be restored here."""
        if not self.ready:
            raise errors.NodeNotReady("the node is loading its state")
        self.enrolment.admit_write()

    # -- the pipeline's observer

    def tick(self) -> int:
        """The HLC of a new local change."""
        return self.clock_guard.tick()

    def observe(self, change: Change) -> None:
        """Take a received change's stamp and lag into account."""
        self.clock_guard.observe(change)

    def applied(self, project: Project, change: Change, *, local: bool) -> None:
        """A change is in the journal and in memory."""
        assert self.writer is not None
        self.writer.note(project.name, change)
        self.caretaker.collector.note(project.name, change)
        self.seams.telemetry.count_applied(project.name, local=local)
        if project is self.system:
            self._system_changes.append(change)
        if local:
            self.loops.push(project.name, change.raw)

    def advanced(self, project: Project) -> None:
        """A batch has been applied."""
        if project is self.system:
            changes, self._system_changes = self._system_changes, []
            self.directory.refresh(changes)
            self.caretaker.follow_members()
            self.following.follow()
            self.enrolment.look()
            twin = self.enrolment.twin()
            if twin is not None:
                self.caretaker.twin(twin)
        self.writing.advanced(project.name)

    def forked(self, project: Project, change: Change, sender: str) -> None:
        """A change contradicts what is known of its incarnation."""
        if change.incarnation != self.incarnation:
            stop(project, change.incarnation)
        self.fork_seen(project.name, change.incarnation, sender)

    def below_floor(self, project: Project, change: Change) -> None:
        """The author of a change had not seen all that has been collected here: it has to begin anew."""
        stop(project, change.incarnation)
        self.stranded.note(change.incarnation)

    def put_aside(self, record: AsideRecord) -> None:
        """Keep a change for a person, once."""
        if self.alarms.aside(record) and self._nursery is not None:
            self._nursery.start_soon(self.store_aside, record)

    async def store_aside(self, record: AsideRecord) -> None:
        """Keep a change for a person; a store that fails is counted."""
        try:
            await self.seams.store.put_aside(record)
        except StoreError as error:
            self.alarms.store_failed(error)

    def journalled(self, records: int, seconds: float) -> None:
        """One append went through."""
        self.seams.telemetry.observe_journal(records, seconds)

    def journal_full(self, error: JournalFull) -> None:
        """An append failed for good."""
        self.alarms.journal_full(error)

    # -- gossip's host

    def open_project(self, name: str) -> Project | None:
        """The project, made empty if it is not here yet; None if there are too many or the name cannot be one."""
        project = self.projects.get(name)
        if project is None:
            if name == schema.SYSTEM_PROJECT:
                project = self.system
            elif len(self.projects) < PROJECTS_MAX and schema.parse_object(schema.project_object(name)):
                project = self.make_project(name, Replica())
            else:
                return None
            self.projects[name] = project
            if self.writer is not None:
                self.writer.replicas[name] = project.replica
            self.following.configure(name)
        return project

    def is_member(self, node: str, registration: str) -> bool:
        """Whether ``node`` is registered in our state, under just this registration."""
        member = self.directory.members.get(node)
        return member is not None and member.holds(registration)

    def why_no_member(self, node: str, registration: str) -> PeerRefused | None:
        """What a caller is told of whom nothing is taken; None for a member."""
        return refusal(self.directory, node, registration)

    def may_be_alive(self, node: str) -> bool:
        """Whether a member could be running: our last call to it brought something, or it was heard since.

        Whoever asks wants to know how it is now: it is called.
        """
        peer = self.peers.get(node)
        if peer is None or peer.unreachable:
            return False
        self.loops.want_pull(node, schema.SYSTEM_PROJECT)
        return True

    @property
    def returning(self) -> bool:
        """There is a state of an earlier registration of this slot."""
        return self.seams.archive is not None

    async def register(self, registration: str) -> None:
        """Write into the slot's row of the store that it is a member under ``registration``. Raises StoreError."""
        assert self.writer is not None
        try:
            await self.writer.register(registration)
        except StoreError as error:
            self.alarms.store_failed(error)
            raise
        self.stored_registration = registration

    def wall_ms(self) -> int:
        """Our wall clock."""
        return self.seams.clock.wall_ms()

    async def receive(self, project: Project, changes: Sequence[Change], sender: str) -> RemoteJob:
        """Journal and apply what fits."""
        return await self.pipeline.receive(RemoteJob(project, changes, sender))

    @property
    def last_hlc(self) -> int:
        """The highest stamp that this node has given or believed."""
        return self.clock.last

    def observe_hlc(self, hlc: int) -> None:
        """A peer's highest stamp."""
        self.clock_guard.observe_hlc(hlc)

    async def stored(self, project: str, vv: Mapping[int, int], *, timeout_ms: float) -> bool:
        """Wait until the region's store holds ``project`` up to ``vv``."""
        return await self._own_writer().until_stored(
            project, vv, retired=self.projects[project].replica.retired, timeout_ms=timeout_ms
        )

    def _own_writer(self) -> RegionWriter:
        assert self.writer is not None, "the node has loaded"
        return self.writer

    def snapshot_taken(self, project: Project) -> None:
        """The state of ``project`` is another now, as a whole."""
        if project is self.system:
            self.directory.refresh_all()
        self.caretaker.collector.state_came(project.name)
        self.advanced(project)
        self.past.want(project.name)

    def log_shortened(self, project: str) -> None:
        """Rows of its log may be gone that the past brings again."""
        self.past.want(project)

    def snapshot_ended(self, project: str, peer: str, outcome: str, error: Exception | None) -> None:
        """Counted and logged. Whoever lacks what others have collected can only come back from an empty state."""
        self.alarms.snapshot(project, peer, outcome, error)
        if isinstance(error, BelowFloor) and error.ours:
            self.enrolment.below_floor()

    def fork_seen(self, project: str, incarnation: int, sender: str) -> None:
        """Another history of ``incarnation`` is about."""
        self.forks.note(project, incarnation, sender)

    def _on_fork(self, incarnation: int) -> None:
        if self.writer is not None:
            self.writer.note_forked(self.forks.incarnations)
        for waiting in self.projects.values():
            self.pipeline.look_again(waiting)
        if incarnation == self.incarnation:
            # Somebody runs a copy of this process. Both go on, each under a name of its own.
            moment = f"{self.wall_ms()} {trio.current_time()!r}"
            self.incarnation = fresh_incarnation(self.seams.entropy, moment=moment)
            self.pipeline.reincarnate(self.incarnation)
            self.caretaker.live_on(self.incarnation, beside=incarnation)
            if self._nursery is not None:
                self._nursery.start_soon(self._begin_again)

    def _on_stranded(self, incarnation: int) -> None:
        if incarnation == self.incarnation:
            self.enrolment.below_floor()

    async def _begin_again(self) -> None:
        await loading.announce(self)
        await self.enrolment.begin_again(self.incarnation)

    def divergence_seen(self, project: str, peer: str) -> None:
        """Equal vectors, unequal state."""
        self.alarms.divergence(project, peer)
        self.repairs.want(project, peer)

    def repaired(self, project: Project, repair: Repair) -> None:
        """Two states were compared; ours may be another one now."""
        self.alarms.repair(repair)
        if repair.cells or repair.root:
            self.caretaker.collector.state_came(project.name)
            if project is self.system:
                self.directory.refresh_all()
            self.advanced(project)

    def repair_failed(self, project: str, peer: str, error: Exception) -> None:
        """A comparison broke off."""
        self.alarms.repair_failed(project, peer, error)

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """Bytes to and from peers."""
        self.seams.telemetry.count_bytes(direction, kind, count)

    def call_failed(self, peer: str, method: str, error: Exception) -> None:
        """A call brought nothing."""
        self.alarms.call_failed(peer, method, error)
        self.enrolment.told(error)
        known = self.peers.get(peer)
        if known is not None:
            known.unreachable = True

    def call_succeeded(self, peer: str) -> None:
        """A call went through."""
        self.alarms.call_succeeded(peer)
        known = self.peers.get(peer)
        if known is not None:
            known.unreachable = False

    @property
    def announcements(self) -> Announcements:
        """What the members have promised."""
        return self.caretaker.announcements

    def take_announcements(self, announcements: Iterable[Announcement]) -> None:
        """Keep what a peer has passed on."""
        self.caretaker.take_announcements(announcements)

    @property
    def evicted(self) -> bool:
        """We are no member any more."""
        return self.enrolment.standing == EVICTED

    def accepted(self) -> None:
        """A member has answered us: we are known."""
        self.enrolment.accepted()

    def levelled(self, *, asked_s: float) -> None:
        """An exchange that began at ``asked_s`` has brought all that a peer had."""
        self.enrolment.levelled(asked_s=asked_s)

    async def admit_member(
        self, *, node: str, region: str, registration: str, peer_url: str, http_url: str
    ) -> None:
        """Register a member by a change of ours, durably."""
        await self.enrolment.admit(
            node=node, region=region, registration=registration, peer_url=peer_url, http_url=http_url
        )

    # -- projects

    def make_project(self, name: str, replica: Replica) -> Project:
        """A project that is not here yet, put among the others."""
        project = Project(name, replica, on_defect=self.alarms.defect)
        project.forked = self.forks.incarnations
        self.projects[name] = project
        return project
