"""A node without its adapters: everything that Vexil does, over the seams of `vexil.node.seams`.

Start: load (`startup`), take a fresh incarnation and write the member row, become a member or say that a new
incarnation has begun, make one bounded try to catch up; then the node is ready. From there on local writes and
received changes go through one `Pipeline`, the store is told by one `RegionWriter`, and peers are met by `gossip`.
The engine itself only ties these together: it is the pipeline's observer and gossip's host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt import schema, version_vector
from vexil.crdt.change import Change, Dot, decode, render_id
from vexil.crdt.replica import Replica
from vexil.node import errors, startup, status
from vexil.node.alarms import Alarms
from vexil.node.authoring.intent import Intent
from vexil.node.clock_guard import only_kills
from vexil.node.directory import Directory
from vexil.node.durability import LEVELS, Durability
from vexil.node.engine_types import EngineSettings, Seams, Written
from vexil.node.enrolment import Enrolment
from vexil.node.following import Following
from vexil.node.forks import Forks
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.intake import stop
from vexil.node.gossip.links import Links
from vexil.node.gossip.loops import Loops
from vexil.node.gossip.messages import PROJECTS_MAX
from vexil.node.gossip.peers import Freshness, Peer, own_offset_ms
from vexil.node.gossip.service import PeerService
from vexil.node.history import History
from vexil.node.lag import LagWindow
from vexil.node.pipeline import LocalJob, Pipeline, RemoteJob
from vexil.node.project import Project
from vexil.node.recall import Recall
from vexil.node.region_writer import RegionWriter
from vexil.node.seams import (
    AsideRecord,
    JournalFull,
    LogRecord,
    MemberRow,
    PeerIdentity,
    StoreError,
)
from vexil.node.signal import Signal
from vexil.node.upkeep import Upkeep

INCARNATION_BYTES = 8
RETRY_WAIT_MS = 5_000
"""How long a retry that names its change waits for that change to arrive here."""
STORE_RETRY_MS = 500
SETTLE_WAIT_MS = 10_000
"""How long a write of `_system` waits, once it is durable, until large projects are served under their new settings."""
OWED_WAIT_MS = 30_000
"""How long a start waits for peers to give back what the own disk has lost; then the node serves, and says so."""


class Engine:
    """One node. `run` must be running; every other method may be called from any task of the same trio loop."""

    def __init__(self, settings: EngineSettings, seams: Seams) -> None:
        """A node that has not loaded anything yet."""
        self.settings = settings
        self.seams = seams
        self.alarms = Alarms(seams.telemetry, seams.log)
        self.identity = PeerIdentity(settings.name, settings.region)
        self._nursery: trio.Nursery | None = None
        self.incarnation = self._fresh_incarnation()
        self.clock = hlcs.HybridClock(ahead_limit_ms=settings.clock_skew_limit_ms)
        self.projects: dict[str, Project] = {}
        self.system = Project(schema.SYSTEM_PROJECT, Replica(), on_defect=self.alarms.defect)
        self.forks = Forks(self.alarms, self._on_fork)
        self.system.forked = self.forks.incarnations
        self.directory = Directory(self.system)
        self.peers: dict[str, Peer] = {}
        self.links = Links()
        self.freshness = Freshness()
        self.lag = LagWindow()
        self.ready = False
        self.serving_peers = False
        self.store_row: MemberRow | None = None
        self.advanced_signal: dict[str, Signal] = {}
        self._owed: dict[str, dict[int, int]] = {}
        self._recall: Recall | None = None
        self._acknowledged = Signal()
        self._became_ready = Signal()
        self._system_changes: list[Change] = []
        self.pipeline = Pipeline(seams.journal, self, self.incarnation)
        self._exchange = Exchange(
            self, seams.transport, self.links, self.freshness, on_ack=self._acknowledged.notify
        )
        self.enrolment = Enrolment(self, self._exchange, self.pipeline, settings, seams.rng)
        self.loops = Loops(self, self._exchange, self.peers, settings.gossip, seams.rng)
        self.following = Following(self, self.loops, on_settled=self._settled)
        self.peer_service = PeerService(
            self,
            self.links,
            self.freshness,
            self.peers,
            on_gap=self.loops.want_pull,
        )
        self.writer: RegionWriter | None = None
        self.durability: Durability | None = None
        self.history = History(seams.store, self.directory)

    # -- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load, join, serve, until cancelled; ``task_status.started()`` is called when the node is ready.

        Raises what `startup.load` raises, and JournalIndeterminate: the process must then start anew.
        """
        await self._load()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            assert self.writer is not None
            nursery.start_soon(self.writer.run)
            nursery.start_soon(self.pipeline.run)
            nursery.start_soon(self.following.run)
            await self.enrolment.become_member()
            self.serving_peers = True
            nursery.start_soon(self.enrolment.reunite)
            nursery.start_soon(self.loops.run)
            await self.loops.catch_up(timeout_ms=self.settings.catch_up_ms)
            await self._get_back_what_is_owed()
            self.ready = True
            self._became_ready.notify()
            self.seams.log.info("ready", node=self.settings.name, incarnation=f"{self.incarnation:016x}")
            task_status.started()
            nursery.start_soon(self._look_after)

    async def _look_after(self) -> None:
        # One after the other: a thread that reads the log hardly gets on while the event loop is busy counting.
        assert self._recall is not None
        await self._recall.run()
        await Upkeep(self.projects, self.seams.clock, self.seams.rng).run()

    async def _get_back_what_is_owed(self) -> None:
        """Do not take writes on less than this slot has announced, for as long as a peer may still have it."""
        deadline_s = trio.current_time() + OWED_WAIT_MS / 1000
        for project, vv in self._owed.items():
            left_ms = max(0.0, deadline_s - trio.current_time()) * 1000
            if not await self.wait_for(project, vv, left_ms):
                self.alarms.log_lost(project)

    async def until_ready(self) -> None:
        """Return when the node is ready."""
        while not self.ready:
            await self._became_ready.wait()

    async def drain(self) -> None:
        """Before a planned stop: write what the store does not have yet. Bounded by the caller."""
        if self.writer is not None:
            await self.writer.flush()

    async def _load(self) -> None:
        slot = self.settings.name
        wall_ms = self.seams.clock.wall_ms()
        believed = self.clock.believed(wall_ms)
        loaded = await startup.load(self.seams.store, self.seams.journal, slot, believed=believed)
        self.forks.restore(loaded.forked)
        for name, replica in sorted(loaded.replicas.items()):
            project = self.system if name == schema.SYSTEM_PROJECT else self._make_project(name, replica)
            project.replica = replica
            project.changes_applied = sum(replica.vv.values())
            for change in loaded.pending.get(name, ()):
                project.waiting[change.dot] = change
        if self.system.replica.vv:
            self.projects[schema.SYSTEM_PROJECT] = self.system
        self.directory = Directory(self.system)
        self.history = History(self.seams.store, self.directory)
        self._owed = startup.owed(loaded)
        for name in self._owed:
            self.alarms.log_damaged(name)
        for record in loaded.aside:
            if self.alarms.aside(record):
                await self._store_aside(record)
        recall = self._recall = Recall(
            self.seams.store,
            self.projects,
            wall_ms=wall_ms,
            believed=believed,
            rng=self.seams.rng,
            on_failure=self.alarms.store_failed,
        )
        for name, keyed in loaded.keyed.items():
            for change in keyed:
                self.projects[name].idempotency.register(change)
        self.clock.observe(loaded.hlc, wall_ms)
        if loaded.row is not None and (not loaded.row.hlc or self.clock.observe(loaded.row.hlc, wall_ms)):
            # The row does not say how far the stamps had come, or the wall clock was set back since: the log tells.
            self.clock.observe(await recall.read(), wall_ms)
        await self.following.load()
        self.following.follow()
        row = MemberRow(
            slot,
            start=1 if loaded.row is None else loaded.row.start + 1,
            revision=0,
            incarnation=self.incarnation,
            vv={} if loaded.row is None else dict(loaded.row.vv),
            fold={} if loaded.row is None else dict(loaded.row.fold),
            forked=tuple(sorted(self.forks.incarnations)),
        )
        self.writer = RegionWriter(
            self.seams.store,
            self.seams.journal,
            row,
            {},
            rng=self.seams.rng,
            hlc=lambda: self.clock.last,
            on_failure=self.alarms.store_failed,
        )
        self.writer.replicas = self._replicas()
        for name, unfolded in loaded.unfolded.items():
            for change in unfolded:
                # The next round writes a vector and a header that cover these: their rows and cells must be in it.
                self.writer.note(name, change)
        self.durability = Durability(
            self.seams.store, self.writer, self.peers.values, self._acknowledged, self._made_elsewhere
        )
        await self._announce()

    async def _announce(self) -> None:
        """Write the members row; whatever a dead predecessor still has in flight is void from then on."""
        assert self.writer is not None
        while True:
            try:
                await self.writer.announce(self.incarnation)
            except StoreError as error:
                self.alarms.store_failed(error)
                await trio.sleep(STORE_RETRY_MS * self.seams.rng.uniform(0.5, 1.5) / 1000)
            else:
                return

    def _fresh_incarnation(self) -> int:
        """An id that nobody else has taken, and that a copy of this machine does not take too.

        A copied machine may go on with its original's entropy. Where the two stand in time tells them apart: they
        learn of each other at different moments.
        """
        while True:
            drawn = self.seams.entropy.token_bytes(INCARNATION_BYTES)
            moment = (
                f"{self.seams.clock.wall_ms()} {trio.current_time()!r}" if self._nursery is not None else ""
            )
            incarnation = int.from_bytes(
                blake2b(drawn, digest_size=INCARNATION_BYTES, key=moment.encode()).digest(), "big"
            )
            if incarnation:
                return incarnation

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
        """Decide and write one change; return when it is as durable as asked.

        ``decide`` runs synchronously against the exact state that the change will be based on and may run more than
        once before the write; it raises ApiError to refuse. ``retry_of`` is the change of an earlier try: if it is
        not here in `RETRY_WAIT_MS`, the outcome is still unknown. Raises ApiError.
        """
        target = self.project(project)
        if not self.ready or target is None:
            if not self.ready:
                raise errors.NodeNotReady("the node is loading its state")
            raise errors.NotFound("project", project)
        assert self.durability is not None
        if durability and durability not in LEVELS:
            raise errors.Malformed(f"Vexil-Durability: {durability!r} is none of {', '.join(LEVELS)}")
        if retry_of is not None:
            return await self._retried(target, retry_of, idempotency, durability)
        if idempotency is not None:
            await target.idempotency.until_complete()
        guard = self.durability

        def admit(intent: Intent) -> None:
            if intent.writes:
                guard.admit(durability)
                self._admit_clock(intent)

        committed = await self.pipeline.write(
            LocalJob(target, decide, author, message, idempotency, admit=admit)
        )
        if committed.dot is None:
            return Written(None, None, self.seams.store.durability, None, dict(target.replica.vv))
        # A key that a start has read in the region's log may stand for a change that has not come here yet.
        if committed.replayed and not await self.wait_for(project, dict([committed.dot]), RETRY_WAIT_MS):
            reached = guard.of_log(committed.dot, durability)
        else:
            reached = await guard.reached(project, committed.dot, durability)
        token = version_vector.join(target.replica.vv, dict([committed.dot]))
        if target is self.system:
            # Who has added an environment finds it there; see `Following`.
            await self.wait_for(project, {}, SETTLE_WAIT_MS)
        return Written(
            render_id(committed.dot), committed.hlc, reached, committed.dot, token, committed.replayed
        )

    async def _retried(
        self, project: Project, dot: Dot, idempotency: tuple[str, bytes] | None, durability: str
    ) -> Written:
        """The outcome of an earlier try that was given ``dot``: it is never written a second time."""
        assert self.durability is not None
        if not await self.wait_for(project.name, {dot[0]: dot[1]}, RETRY_WAIT_MS):
            raise errors.WriteIndeterminate(
                render_id(dot), "this node has not seen the change that is retried"
            )
        try:
            rows = await self.read_log(
                project.name, after={dot[0]: dot[1] - 1}, through={dot[0]: dot[1]}, limit_bytes=1
            )
        except StoreError as error:
            raise errors.WriteIndeterminate(render_id(dot), f"the log cannot be read now: {error}") from None
        change = decode(rows[0].raw) if rows else None
        if change is not None and idempotency is not None and change.idempotency != idempotency:
            raise errors.IdempotencyMismatch
        reached = await self.durability.reached(project.name, dot, durability)
        hlc = None if change is None else change.hlc
        return Written(render_id(dot), hlc, reached, dot, dict(project.replica.vv), replayed=True)

    async def wait_for(self, project: str, vv: Mapping[int, int], timeout_ms: float) -> bool:
        """Wait until the project's state covers ``vv``; False if time ran out.

        That of `_system` includes that every project is served under its settings.
        """
        target = self.projects.get(project)
        if target is None:
            return not vv
        signal = self.advanced_signal.setdefault(project, Signal())

        def holds() -> bool:
            covered = version_vector.covers(target.replica.vv, vv)
            return covered and (target is not self.system or self.following.settled)

        return await signal.until(holds, timeout_ms=timeout_ms)

    def as_of_ms(self) -> dict[str, int | None]:
        """Per region, how old (milliseconds) the oldest knowledge of one of its members is; None: never heard."""
        ages: dict[str, int | None] = {}
        for slot, member in self.directory.members.items():
            if not member.registered:
                continue
            age = 0 if slot == self.settings.name else self.freshness.age_ms(slot)
            if member.region not in ages:
                ages[member.region] = age
            else:
                known = ages[member.region]
                ages[member.region] = None if age is None or known is None else max(age, known)
        return ages

    def status(self) -> dict[str, Any]:
        """What ``GET /api/v1/status`` answers; made from memory alone."""
        return status.status(self)

    def _made_elsewhere(self, incarnation: int) -> bool:
        """Whether a process of another slot wrote under ``incarnation``."""
        place = self.directory.place_of(incarnation)
        return place is not None and place[0] != self.settings.name

    def clock_offset_ms(self) -> int | None:
        """How far our wall clock is off the median of our peers; None while too few have been heard."""
        return own_offset_ms(self.peers.values())

    @property
    def clock_suspect(self) -> bool:
        """Our own clock is so far off the others that our stamps cannot be believed."""
        offset = self.clock_offset_ms()
        return offset is not None and abs(offset) > self.settings.clock_skew_limit_ms

    def _admit_clock(self, intent: Intent) -> None:
        if self.clock_suspect and not only_kills(intent):
            raise errors.NodeNotReady(
                f"this node's clock is {self.clock_offset_ms()} ms off its peers': it takes kills only"
            )

    # -- the pipeline's observer

    def tick(self) -> int:
        """The HLC of a new local change."""
        return self.clock.tick(self.seams.clock.wall_ms())

    def observe(self, change: Change) -> None:
        """Take a received change's stamp and lag into account."""
        wall_ms = self.seams.clock.wall_ms()
        place = self.directory.place_of(change.incarnation)
        if self.clock.observe(change.hlc, wall_ms):
            self.seams.telemetry.count_clock_suspect(place[1] if place else "unknown")
        if place is not None:
            lag_ms = max(0, wall_ms - hlcs.milliseconds(change.hlc))
            self.lag.add(place[1], lag_ms)
            self.seams.telemetry.observe_lag(place[1], lag_ms)

    def applied(self, project: Project, change: Change, *, local: bool) -> None:
        """A change is in the journal and in memory."""
        assert self.writer is not None
        self.writer.note(project.name, change)
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
            self.following.follow()
            twin = self.enrolment.twin()
            if twin is not None:
                self.alarms.twin(twin)
        signal = self.advanced_signal.get(project.name)
        if signal is not None:
            signal.notify()

    def _settled(self) -> None:
        signal = self.advanced_signal.get(schema.SYSTEM_PROJECT)
        if signal is not None:
            signal.notify()

    def forked(self, project: Project, change: Change, sender: str) -> None:
        """A change contradicts what is known of its incarnation."""
        if change.incarnation != self.incarnation:
            stop(project, change.incarnation)
        self.fork_seen(project.name, change.incarnation, sender)

    def put_aside(self, record: AsideRecord) -> None:
        """Keep a change for a person, once."""
        if self.alarms.aside(record) and self._nursery is not None:
            self._nursery.start_soon(self._store_aside, record)

    async def _store_aside(self, record: AsideRecord) -> None:
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
                project = self._make_project(name, Replica())
            else:
                return None
            self.projects[name] = project
            if self.writer is not None:
                self.writer.replicas[name] = project.replica
            self.following.configure(name)
        return project

    def is_member(self, node: str) -> bool:
        """Whether ``node`` is registered in our state."""
        member = self.directory.members.get(node)
        return member is not None and member.registered

    def wall_ms(self) -> int:
        """Our wall clock."""
        return self.seams.clock.wall_ms()

    async def receive(self, project: Project, changes: Sequence[Change], sender: str) -> RemoteJob:
        """Journal and apply what fits."""
        return await self.pipeline.receive(RemoteJob(project, changes, sender))

    async def read_log(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """A page of the log, from the journal or else from the store."""
        page = await self.seams.journal.read_changes(
            project, after=after, through=through, limit_bytes=limit_bytes
        )
        if page or version_vector.covers(after, through):
            return page
        return await self.seams.store.read_changes(
            project, after=after, through=through, limit_bytes=limit_bytes
        )

    async def keep_aside(self, project: str, reason: str, sender: str, raw: bytes) -> None:
        """Keep a change that cannot be taken in."""
        self.put_aside(AsideRecord(project, reason, sender, raw))

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
            self.incarnation = self._fresh_incarnation()
            self.pipeline.reincarnate(self.incarnation)
            if self._nursery is not None:
                self._nursery.start_soon(self._begin_again)

    async def _begin_again(self) -> None:
        await self._announce()
        await self.enrolment.begin_again(self.incarnation)

    def divergence_seen(self, project: str, peer: str) -> None:
        """Equal vectors, unequal state."""
        self.alarms.divergence(project, peer)

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """Bytes to and from peers."""
        self.seams.telemetry.count_bytes(direction, kind, count)

    def call_failed(self, peer: str, method: str, error: Exception) -> None:
        """A call brought nothing."""
        self.alarms.call_failed(peer, method, error)
        known = self.peers.get(peer)
        if known is not None:
            known.unreachable = True

    def call_succeeded(self, peer: str) -> None:
        """A call went through."""
        self.alarms.call_succeeded(peer)

    async def admit_member(self, *, node: str, region: str, peer_url: str, http_url: str) -> None:
        """Register a member by a change of ours, durably."""
        await self.enrolment.admit(node=node, region=region, peer_url=peer_url, http_url=http_url)

    # -- projects

    def _make_project(self, name: str, replica: Replica) -> Project:
        project = Project(name, replica, on_defect=self.alarms.defect)
        project.forked = self.forks.incarnations
        self.projects[name] = project
        return project

    def _replicas(self) -> dict[str, Replica]:
        return {name: project.replica for name, project in self.projects.items()}
