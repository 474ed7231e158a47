"""What gossip, snapshots and repair ask of a node, and tell it: `gossip.host.Host` and what goes beyond it.

Each of them is one question or one fact. What follows from a fact is the business of whom it is passed to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from vexil.crdt import schema
from vexil.crdt.change import Change
from vexil.node import astray
from vexil.node.announcements import Announcement, Announcements
from vexil.node.astray import Vectors
from vexil.node.gossip.past import Past
from vexil.node.pipeline import Pipeline, RemoteJob
from vexil.node.pipeline_observer import PipelineObserver
from vexil.node.project import Project
from vexil.node.repair import Repairs
from vexil.node.repair_report import Repair
from vexil.node.seams import StoreError
from vexil.node.snapshots import BelowFloor, BeyondTheEnd, OtherBranch


class GossipHost(PipelineObserver):
    """The node, as those meet it that bring it level with its peers."""

    pipeline: Pipeline
    past: Past
    repairs: Repairs

    def may_be_alive(self, node: str) -> bool:
        """Whether a member could be running: our last call to it brought something, or it was heard since.

        Not if who answers in its place says to be another one: under a registration that is not known here yet.

        Whoever asks wants to know how it is now: it is called.
        """
        peer = self.peers.get(node)
        if peer is None or peer.unreachable or peer.answers_as not in {"", peer.registration}:
            return False
        self.loops.want_pull(node, schema.SYSTEM_PROJECT)
        return True

    async def register(self, registration: str) -> None:
        """Write into the slot's row of the store that it is a member under ``registration``. Raises StoreError."""
        try:
            await self._own_writer().register(registration)
        except StoreError as error:
            self.alarms.store_failed(error)
            raise
        self.stored_registration = registration

    async def receive(
        self, project: Project, changes: Sequence[Change], sender: str, admit: Callable[[], None]
    ) -> RemoteJob:
        """Journal and apply what fits, unless ``admit`` raises when its turn comes."""
        return await self.pipeline.receive(RemoteJob(project, changes, sender, admit))

    def observe_hlc(self, hlc: int) -> None:
        """A peer's highest stamp."""
        self.clock_guard.observe_hlc(hlc)

    async def stored(self, project: str, vv: Mapping[int, int], *, timeout_ms: float) -> bool:
        """Wait until the region's store holds ``project`` up to ``vv``."""
        return await self._own_writer().until_stored(
            project, vv, retired=self.projects[project].replica.retired, timeout_ms=timeout_ms
        )

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
        if isinstance(error, BeyondTheEnd):
            self.enrolment.beyond_the_end()
        if isinstance(error, OtherBranch):
            self.enrolment.on_another_branch()

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

    def accepted(self) -> None:
        """A member has answered us: we are known."""
        self.enrolment.accepted()

    def levelled(self, *, asked_s: float) -> None:
        """An exchange that began at ``asked_s`` has brought all that a peer had."""
        self.enrolment.levelled(asked_s=asked_s)

    def may_still_take(self, slot: str, registration: str) -> list[str]:
        """Members that may still come with changes of a registration of ``slot`` that has ended."""
        return self.caretaker.may_still_take(slot, registration)

    def was_evicted(self, node: str) -> bool:
        """Whether the slot ``node`` was evicted, and nobody has it since, as far as is known here."""
        member = self.directory.members.get(node)
        return member is not None and not member.registered and bool(member.evicted)

    def may_be_astray(self, seen: Vectors) -> bool:
        """Whether a stranger's state, per project of the vector ``seen``, may hold what an evicted node wrote after."""
        return astray.may_be_astray(seen, self.projects, self.directory)

    async def admit_member(
        self, *, node: str, region: str, registration: str, peer_url: str, http_url: str, seen: Vectors
    ) -> None:
        """Register a member by a change of ours, durably."""
        await self.enrolment.admit(
            node=node,
            region=region,
            registration=registration,
            peer_url=peer_url,
            http_url=http_url,
            seen=seen,
        )
