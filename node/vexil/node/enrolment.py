"""A node's standing in the cluster: what it writes of itself and of others into `_system`.

A node becomes a member by a sponsor, or makes the cluster if it was told to; it says under which incarnation it runs;
it sponsors others. A bootstrap node on an empty disk cannot tell a new cluster from one whose other nodes are only
away: it begins, and goes on asking its seeds until each of them is a member, so that the two become one.

The registration under which it is a member is kept in its own row of the store, and it is a member only from the moment
in which that row has it: a start that finds a state and no registration has found half a join, and begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Final, Literal, Protocol

import trio

from vexil.crdt import schema
from vexil.node import errors, membership
from vexil.node.astray import Vectors
from vexil.node.authoring.intent import Intent
from vexil.node.directory import Directory
from vexil.node.engine_types import EngineSettings, MustReturn
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.gossip.peers import Peer
from vexil.node.gossip.service import ENDED, MEMBER_ASTRAY, MEMBER_UNKNOWN
from vexil.node.membership import Ended
from vexil.node.pipeline import LocalJob, Pipeline
from vexil.node.project import Project
from vexil.node.seams import PeerRefused, StoreError
from vexil.node.signal import Signal

Standing = Literal["joining", "member", "unknown", "evicted", "restored"]
JOINING: Final = "joining"
MEMBER: Final = "member"
UNKNOWN: Final = "unknown"
"""A member in its own state, and in nobody's who answers: it takes writes, which nobody has yet."""
EVICTED: Final = "evicted"
RESTORED: Final = "restored"

WHAT_TO_DO: Final = {
    EVICTED: "this node was evicted from the cluster: run `vexil member return --node` with its URL, and it comes back "
    "as a new member with its unsent writes",
    RESTORED: "this node's folder is an older copy of itself: it takes no writes until a peer has given back the rest",
}
"""Why a node of this standing takes no writes."""
ASTRAY: Final = "its state has what a node wrote that had been evicted, and did not know it"
RETRY_MS = 500
UNKNOWN_TOLD_S: Final = 10.0
"""So long a member may be unknown to others: the change that registers it is on its way."""
UNKNOWN_RETURN_S: Final = 30.0
"""So long after it was first told that it is unknown, with nobody who knows it, a node begins anew by itself."""
REUNION_MS_MIN = 1_000
REUNION_MS_MAX = 60_000


class Place(Host, Protocol):
    """The node that has the standing."""

    @property
    def directory(self) -> Directory:
        """`_system`, read."""

    @property
    def system(self) -> Project:
        """`_system` itself."""

    @property
    def returning(self) -> bool:
        """There is a state of an earlier registration: a cluster that this node was in."""

    def may_be_alive(self, node: str) -> bool:
        """Whether a member could be running: our last call to it brought something, or it was heard since."""

    async def register(self, registration: str) -> None:
        """Write into the slot's row of the store that it is a member under ``registration``. Raises StoreError."""


class MustReturnSoon(Protocol):
    """Ends the engine, so that the node begins anew from an empty state."""

    def __call__(self, reason: str, *, keep: bool = True) -> None:
        """See `MustReturn` for ``keep``."""


class Enrolment:
    """Writes a node's part of `_system`. ``run`` of the pipeline must be running."""

    def __init__(
        self,
        place: Place,
        exchange: Exchange,
        pipeline: Pipeline,
        settings: EngineSettings,
        rng: Random,
        *,
        snapshot: membership.Take | None = None,
        on_standing: Callable[[Standing], None],
        must_return: MustReturnSoon,
    ) -> None:
        """The standing of ``place``; nothing is written yet. A joiner takes whole states by ``snapshot``.

        ``on_standing`` is told of each new standing. ``must_return``, given a reason, ends this engine: the node begins
        anew, from an empty state.
        """
        self._exchange = exchange
        self._snapshot = snapshot or exchange.pull
        self._on_standing = on_standing
        self._must_return = must_return
        self._place = place
        self._pipeline = pipeline
        self._settings = settings
        self._rng = rng
        self._begun: int | None = None
        self._joins = False
        """It has no state but what comes from a sponsor just now."""
        self._standing: Standing = JOINING
        self._restored_s: float | None = None
        self._unknown_s: float | None = None
        self._told_unknown_s = -inf
        self._doubted = Signal()
        self._joining = membership.Joining(
            place,
            exchange,
            seeds=settings.seeds,
            peer_url=settings.peer_url,
            http_url=settings.http_url,
            rng=rng,
            take=self._bring,
            from_nothing=lambda: self._joins,
        )

    async def _bring(self, sponsor: Peer, project: Project) -> None:
        # Two clusters that become one are level by their logs; a state as a whole is for those who have none.
        whole = self._standing == JOINING
        await (self._snapshot if whole else self._exchange.pull)(sponsor, project)

    @property
    def standing(self) -> Standing:
        """What this node is in the cluster."""
        return self._standing

    def admit_write(self) -> None:
        """Raises NodeNotReady for a node whose writes nobody would take, and says what to do."""
        reason = WHAT_TO_DO.get(self._standing)
        if reason is not None:
            raise errors.NodeNotReady(reason)

    async def become_member(self, stored: str | None) -> None:
        """Return when this node is a member and `_system` says that its incarnation has begun, or when it is evicted.

        ``stored`` is the registration in the slot's row: None if it has no row. Raises MustReturn for a state that
        nobody may go on from.
        """
        place, settings = self._place, self._settings
        if not place.is_member(settings.name, place.registration):
            if self._ended_here():
                self._set(EVICTED)
                return
            if not stored and any(project.replica.vv for project in place.projects.values()):
                raise MustReturn(
                    "the join was cut short" if stored == "" else "the state is of no registration",
                    registration=place.registration,
                    keep=stored is None,
                )
            self._joins = not stored
            try:
                joined = await self._joining.try_once()
                # Only the bootstrap node, with nothing on its disk and nobody to sponsor it, may make a cluster.
                alone = settings.bootstrap and not place.system.replica.vv and not place.returning
                if not joined and not alone:
                    await self._joining.until_joined()
            except Ended as error:
                if stored:
                    self._set(EVICTED)
                    return
                raise MustReturn(str(error), registration=place.registration, keep=False) from None
        self._joins = False
        place.open_project(schema.SYSTEM_PROJECT)
        if not place.is_member(settings.name, place.registration):
            await self._until_written(lambda _: self._record(), "the cluster begins")
        if stored != place.registration:
            await self._until_registered()
        incarnation = place.incarnation
        await self._until_written(
            lambda _: Intent([*self._record().writes, *self._begin(incarnation).writes]),
            "the node has started",
        )
        self._begun = incarnation
        if self._standing != RESTORED:
            self._set(MEMBER)

    def told(self, error: Exception) -> None:
        """A peer has refused us: if it says that our registration has ended, it has."""
        if not isinstance(error, PeerRefused):
            return
        if error.code == MEMBER_UNKNOWN:
            self._told_unknown()
        elif error.code == MEMBER_ASTRAY:
            self._state_is_lost(ASTRAY)
        elif error.code in ENDED and self._standing in {MEMBER, UNKNOWN, RESTORED}:
            self._set(EVICTED)

    def accepted(self) -> None:
        """A member has answered us that has not been evicted: our registration is known to one who counts."""
        self._unknown_s = None
        if self._standing == UNKNOWN:
            self._set(MEMBER)

    def _told_unknown(self) -> None:
        """A member has never heard of our registration. Whoever sponsored us may have been none any more."""
        if self._standing not in {MEMBER, UNKNOWN}:
            return
        now = trio.current_time()
        if now - self._told_unknown_s > REUNION_MS_MAX / 1000:
            self._doubted.notify()
        if self._unknown_s is None or now - self._told_unknown_s > UNKNOWN_RETURN_S:
            # Also after such a silence: what would have made us known was perhaps cut off with us.
            self._unknown_s = now
        self._told_unknown_s = now
        if now - self._unknown_s >= UNKNOWN_RETURN_S:
            self._must_return("nobody who answers knows of this registration")
        elif now - self._unknown_s >= UNKNOWN_TOLD_S:
            self._set(UNKNOWN)

    def look(self) -> None:
        """`_system` has changed: perhaps it says that our registration has ended."""
        if self._standing in {MEMBER, UNKNOWN, RESTORED} and self._ended_here():
            self._set(EVICTED)

    def overtaken(self) -> None:
        """Our own registration has promised more than this process knows of: the folder is an older copy."""
        if self._standing in {MEMBER, UNKNOWN, JOINING} and self._restored_s is None:
            self._restored_s = trio.current_time()
            self._set(RESTORED)

    def levelled(self, *, asked_s: float) -> None:
        """An exchange that began at ``asked_s`` has brought all that a peer had."""
        if self._standing == RESTORED and self._restored_s is not None and asked_s > self._restored_s:
            self._set(MEMBER)

    def below_floor(self) -> None:
        """A peer has collected what we have not seen: this state cannot be brought up to date any more."""
        self._state_is_lost("a peer has collected garbage that this state had not seen")

    def beyond_the_end(self) -> None:
        """We have changes of a node that was evicted before it wrote them: nobody else ever takes them."""
        self._state_is_lost(ASTRAY)

    def on_another_branch(self) -> None:
        """A sponsor has another history of an incarnation than the one that we have half a state of."""
        if self._joins:
            self._must_return(
                "half a state is of one history, and the sponsors who answer have another", keep=False
            )

    def _state_is_lost(self, reason: str) -> None:
        if self._standing in {MEMBER, UNKNOWN, RESTORED}:
            self._must_return(reason)
        elif self._joins:
            # Half a state of a sponsor that is lost itself: no other sponsor can ever complete it.
            self._must_return(reason, keep=False)

    def return_now(self) -> None:
        """What `vexil member return` asks for. Raises MemberRefused for a member."""
        if self._standing not in {UNKNOWN, EVICTED, RESTORED}:
            raise errors.MemberRefused("registered", f"{self._settings.name} is a member: it need not return")
        self._must_return("an operator has asked for it")

    async def reunite(self) -> None:
        """Ask the seeds, ever more rarely, while one of them is no member here, or somebody does not know this node.

        Whoever is asked then either registers it or finds out that its state is nobody's to go on from.
        """
        pause_ms = REUNION_MS_MIN
        while True:
            jitter = self._rng.uniform(0.5, 1.5)
            with trio.move_on_after(pause_ms * jitter / 1000):
                await self._doubted.wait()
                pause_ms = REUNION_MS_MIN
                await trio.sleep(pause_ms * jitter / 1000)
            pause_ms = min(pause_ms * 2, REUNION_MS_MAX)
            if self._standing == EVICTED:
                return
            known = {m.peer_url for m in self._place.directory.members.values() if m.registered}
            unknown = trio.current_time() - self._told_unknown_s < REUNION_MS_MAX / 1000
            if known.issuperset(self._settings.seeds) and not unknown:
                continue
            try:
                await self._joining.try_once()
            except Ended:
                self._set(EVICTED)
                return

    async def begin_again(self, incarnation: int) -> None:
        """Say that this process goes on under ``incarnation``."""
        if self._standing == EVICTED:
            return
        await self._until_written(lambda _: self._begin(incarnation), "a fork was met: a new incarnation")
        self._begun = incarnation

    async def admit(
        self, *, node: str, region: str, registration: str, peer_url: str, http_url: str, seen: Vectors
    ) -> None:
        """Register a member by a change of ours, durably. Raises PeerRefused, also for whose state is astray.

        Who asks comes with a state of its own, of the vectors ``seen``: it may not hold what an evicted node has
        written since. A sponsor that does not know of its eviction has given that away. Nobody takes it from there, and
        nobody may take it by this door: the caller begins anew.
        """
        if self._standing == EVICTED:
            # A node that was told so may lack the change that says it: its `_system` still calls it a member.
            raise PeerRefused("node.not_ready", "this node was evicted: nobody would know whom it registers")
        known = self._place.directory.members.get(node)
        if not schema.is_registration(registration) and not (known is not None and known.holds(registration)):
            raise PeerRefused("member.invalid", f"{registration!r} cannot be a registration")

        def decide(_: Project) -> Intent:
            intent = membership.registration(
                self._place.directory,
                node=node,
                region=region,
                peer_url=peer_url,
                http_url=http_url,
                registration=registration,
                by=self._author,
                alive=self._place.may_be_alive,
            )
            # Not a moment earlier: whoever promises that it knows of an eviction then knows of this member as well.
            known = self._place.is_member(node, registration)
            if (self._place.is_astray if known else self._place.may_be_astray)(seen):
                raise PeerRefused(MEMBER_ASTRAY, f"{node} has the state of an evicted node: it begins anew")
            return intent

        try:
            await self._write(decide, f"{node} joins")
        except errors.ApiError as error:
            raise PeerRefused("node.not_ready", error.detail) from None

    def twin(self) -> int | None:
        """The incarnation of another process that has begun in our slot after us; None if there is none."""
        member = self._place.directory.members.get(self._settings.name)
        if self._begun is None or member is None or member.current is None:
            return None
        return None if member.current in (self._begun, self._place.incarnation) else member.current

    def _ended_here(self) -> bool:
        """Whether our own `_system` says that our registration is over."""
        member = self._place.directory.members.get(self._settings.name)
        return member is not None and self._place.registration in {*member.evicted, *member.superseded}

    def _record(self) -> Intent:
        """Our own member record, if it is not what it should be; nothing once somebody else has the slot."""
        settings, directory = self._settings, self._place.directory
        own = self._place.registration
        member = directory.members.get(settings.name)
        if member is not None and (member.registered or own in member.evicted) and not member.holds(own):
            return Intent()
        return membership.registration(
            directory,
            node=settings.name,
            region=settings.region,
            peer_url=settings.peer_url,
            http_url=settings.http_url,
            registration=own,
            by=self._author,
        )

    @property
    def _author(self) -> str:
        return f"node:{self._settings.name}"

    def _set(self, standing: Standing) -> None:
        if standing != self._standing:
            self._standing = standing
            self._on_standing(standing)

    async def _until_registered(self) -> None:
        while True:
            try:
                await self._place.register(self._place.registration)
            except StoreError:  # counted and logged where the store refused
                await trio.sleep(RETRY_MS * self._rng.uniform(0.5, 1.5) / 1000)
            else:
                return

    def _begin(self, incarnation: int) -> Intent:
        settings = self._settings
        return membership.begin(node=settings.name, region=settings.region, incarnation=incarnation)

    async def _until_written(self, decide: Callable[[Project], Intent], message: str) -> None:
        """Write to `_system`, however long the disk takes nothing: the node is not ready, but it is there."""
        while True:
            try:
                await self._write(decide, message)
            except errors.DurabilityUnavailable:  # counted and logged where the journal refused
                await trio.sleep(RETRY_MS * self._rng.uniform(0.5, 1.5) / 1000)
            except errors.WriteIndeterminate:
                # The pipeline has ended with JournalIndeterminate, which ends the node.
                await trio.sleep_forever()
            else:
                return

    async def _write(self, decide: Callable[[Project], Intent], message: str) -> None:
        job = LocalJob(self._place.system, decide, self._author, message, None)
        await self._pipeline.write(job)
