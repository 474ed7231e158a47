"""A node without its adapters: everything that Vexil does, over the seams of `vexil.node.seams`.

Here it is put together, lives and ends; what it holds and what it is told stands in the layers below (`node_state`,
`pipeline_observer`, `gossip_host`).

Start: load and write the member row under a fresh incarnation (`loading`), become a member or say that a new
incarnation has begun, make one bounded try to catch up; then the node is ready. From there on clients write through
`Writing`, their changes and the received ones go through one `Pipeline`, the store is told by one `RegionWriter`, and
peers are met by `gossip`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import trio

from vexil.crdt import schema
from vexil.crdt.change import Dot
from vexil.node import errors, leaving, loading, status, upkeep
from vexil.node.authoring.intent import Intent
from vexil.node.backup import Backups
from vexil.node.caretaker import Caretaker
from vexil.node.durability import Durability
from vexil.node.engine_types import EngineSettings, Seams, Written
from vexil.node.enrolment import Enrolment
from vexil.node.feeds import Feeds
from vexil.node.following import Following
from vexil.node.forks import fresh_incarnation
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.loops import Loops
from vexil.node.gossip.past import Past
from vexil.node.gossip.service import PeerService
from vexil.node.gossip_host import GossipHost
from vexil.node.history import History
from vexil.node.leaving import Leaving
from vexil.node.pipeline import Pipeline
from vexil.node.project import Project
from vexil.node.recall import Recall
from vexil.node.repair import Repairs
from vexil.node.restoring import Restoring
from vexil.node.returning import Returning
from vexil.node.returns import Returns
from vexil.node.signal import Signal
from vexil.node.snapshots import Snapshots
from vexil.node.told import Told
from vexil.node.writing import Writing


class Engine(GossipHost):
    """One node. `run` must be running; every other method may be called from any task of the same trio loop."""

    def __init__(self, settings: EngineSettings, seams: Seams) -> None:
        """A node that has not loaded anything yet."""
        super().__init__(settings, seams, on_fork=self._on_fork, on_stranded=self._on_stranded)
        self.writing = Writing(self)
        self.leaving = Leaving(lambda: self.registration)
        self.owed: dict[str, dict[int, int]] = {}
        self.recall: Recall | None = None
        self.acknowledged = Signal()
        self._became_ready = Signal()
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
        self.feeds = Feeds(self.project, streams_max=settings.streams_max)
        self.following = Following(self, self.loops, on_settled=self._on_settled)
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
            stored=lambda name: {} if self.writer is None else self.writer.stored.get(name, {}),
            on_refused=self.alarms.past_refused,
        )
        returns = [
            Returning(self, self.pipeline, seams.store, archive, settings.name, log=seams.log, rng=seams.rng)
            for archive in seams.archives
        ]
        self.coming_back = Returns(returns) if returns else None
        self.repairs = Repairs(
            self, self._exchange, self.pipeline, self.peers, seams.store, self._own_writer, rng=seams.rng
        )
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
            for project in self.projects.values():
                self.look_for_the_end(project)
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

    def _on_settled(self) -> None:
        self.feeds.advanced(self.system)
        self.writing.advanced(schema.SYSTEM_PROJECT)

    # -- another history of an incarnation, ours perhaps

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
