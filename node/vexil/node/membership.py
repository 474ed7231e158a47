"""Who belongs to the cluster: member records in `_system`, and how a node becomes one.

A joiner asks any member that its seeds name, under a registration that it has just made. That sponsor registers it by a
change of its own, durably, before it serves it anything, and evicts in the same change whoever had the slot before; the
joiner then takes `_system` and every other project from its sponsor into its empty state, and takes nothing else and
accepts no writes until it has reached what the sponsor had.

A registration is one joining of a slot, and ends once: by an eviction, which nothing takes back. Whoever was evicted
comes back under a registration of another name, from an empty state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

import trio

from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.pen import CellWrite
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.directory import Directory
from vexil.node.gossip import messages
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.gossip.messages import Malformed
from vexil.node.gossip.peers import Peer
from vexil.node.gossip.service import (
    ENDED,
    JOIN,
    MEMBER_EVICTED,
    MEMBER_EXISTS,
    MEMBER_REPLACED,
    MEMBER_UNKNOWN,
)
from vexil.node.project import Project
from vexil.node.seams import JournalFull, PeerError, PeerNonsense, PeerRefused, StoreError

JOIN_PAUSE_MS_MIN = 50
JOIN_PAUSE_MS_MAX = 500
MEMBERS_MAX = 1_000
SEEN_BYTES_MAX = 2 << 20
"""Vectors in one request to join, roughly: well inside a frame."""
SEEN_PAIR_BYTES = 18
"""An incarnation and a seq, at most."""

Take = Callable[[Peer, Project], Awaitable[None]]
"""Brings a project nearer to what a peer has of it. Raises PeerError, JournalFull, StoreError."""


class Ended(Exception):
    """The registration under which a node wanted to join has been evicted: it will never be let in."""


def registration_of(incarnation: int) -> str:
    """The registration that a process takes which joins: as good as its incarnation is."""
    return f"{incarnation:016x}"


def registration(
    directory: Directory,
    *,
    node: str,
    region: str,
    peer_url: str,
    http_url: str,
    registration: str = "",
    by: str = "",
    alive: Callable[[str], bool] = lambda _: False,
) -> Intent:
    """Make ``node`` a member, or bring its addresses up to date; empty if the record says just that.

    Whoever holds the slot under another registration is evicted (``by`` is noted), unless it is ``alive``. Raises
    PeerRefused for a name or region that cannot be one, for a member of that name in another region or alive, for a
    registration that was evicted, and beyond `MEMBERS_MAX` members.
    """
    known = directory.members.get(node)
    if known is not None and registration in known.evicted:
        raise PeerRefused(MEMBER_EVICTED, f"the registration {registration!r} of {node} was evicted")
    if known is not None and known.registered and known.region != region:
        raise PeerRefused(MEMBER_EXISTS, f"{node} is a member in region {known.region!r}")
    if known is None and len(directory.members) >= MEMBERS_MAX:
        raise PeerRefused("limit.members", f"the cluster has {MEMBERS_MAX} members")
    if not schema.is_environment_name(region) or schema.parse_object(schema.member_object(node)) is None:
        raise PeerRefused("member.invalid", f"{node!r} in {region!r} cannot be a member")
    others: set[str] = set()
    if known is not None:
        others = set(known.superseded) - {registration}
        if known.registered and known.registration != registration:
            if alive(node):
                raise PeerRefused(MEMBER_EXISTS, f"{node} is a member and runs: evict it first")
            others.add(known.registration)
        if (
            not others
            and known.holds(registration)
            and (known.peer_url, known.http_url) == (peer_url, http_url)
        ):
            return Intent()
    record = {"region": region, "peer_url": peer_url, "http_url": http_url}
    if registration:
        record["registration"] = registration
    name = schema.member_object(node)
    return Intent(
        [
            CellWrite(name, NO_GENERATION, schema.RECORD, record),
            *(_eviction(node, other, by) for other in sorted(others)),
        ]
    )


def eviction(directory: Directory, node: str, *, own: str, by: str) -> Intent:
    """End the registration of ``node``, for good; empty if it has ended already. ``own`` is who writes it.

    Raises NotFound, and MemberRefused for ``own`` itself and for the last member.
    """
    member = directory.members.get(node)
    if member is None or not (member.registered or member.evicted):
        raise errors.NotFound(schema.MEMBER, node)
    if not member.registered:
        return Intent()
    if all(slot == node or not other.registered for slot, other in directory.members.items()):
        raise errors.MemberRefused("last", f"{node!r} is the last member of the cluster")
    if node == own:
        raise errors.MemberRefused("self", "a node does not evict itself: ask another one")
    ended = {member.registration, *member.superseded}
    return Intent([_eviction(node, registration, by) for registration in sorted(ended)])


def refusal(directory: Directory, node: str, registration: str) -> PeerRefused | None:
    """What ``node`` is told when it calls under ``registration``; None if that is a member.

    Only what is known for certain is called an end: a registration that has never been heard of here may be newer than
    all that is.
    """
    member = directory.members.get(node)
    if member is not None and member.holds(registration):
        return None
    if member is None or registration not in {*member.evicted, *member.superseded}:
        return PeerRefused(MEMBER_UNKNOWN, f"{node} is not registered here")
    if member.registration != registration:
        return PeerRefused(MEMBER_REPLACED, f"{node} is another one by now")
    return PeerRefused(MEMBER_EVICTED, f"{node} was evicted")


def _eviction(node: str, registration: str, by: str) -> CellWrite:
    name = schema.member_object(node)
    return CellWrite(name, NO_GENERATION, schema.evicted_field(registration), {"by": by})


def begin(*, node: str, region: str, incarnation: int) -> Intent:
    """Say that ``incarnation`` runs in the slot ``node`` from now on, and whose it is."""
    name = schema.member_object(node)
    return Intent(
        [
            CellWrite(name, NO_GENERATION, schema.CURRENT, incarnation),
            CellWrite(
                name, NO_GENERATION, schema.incarnation_field(incarnation), {"node": node, "region": region}
            ),
        ]
    )


class Joining:
    """A node that is not a member yet, on its way to be one."""

    def __init__(
        self,
        host: Host,
        exchange: Exchange,
        *,
        seeds: Sequence[str],
        peer_url: str,
        http_url: str,
        rng: Random,
        take: Take | None = None,
        from_nothing: Callable[[], bool] = lambda: False,
    ) -> None:
        """A joiner that knows the peer URLs ``seeds``; it gets a project by ``take``, else by a pull of its log.

        While it joins ``from_nothing``, what it has is at most half of what another sponsor had.
        """
        self._host = host
        self._exchange = exchange
        self._seeds = list(seeds)
        self._peer_url = peer_url
        self._http_url = http_url
        self._rng = rng
        self._bring = take or exchange.pull
        self._from_nothing = from_nothing
        self._sponsors: dict[str, Peer] = {}

    async def until_joined(self) -> None:
        """Ask the seeds, in random order and again and again, until this node has all that a sponsor had.

        Raises Ended if the registration is refused for good.
        """
        while not await self.try_once():  # noqa: ASYNC110 - other processes: nobody here could set an event
            await trio.sleep(self._rng.uniform(JOIN_PAUSE_MS_MIN, JOIN_PAUSE_MS_MAX) / 1000)

    async def try_once(self) -> bool:
        """Ask every seed once. True when joined. Raises Ended."""
        seeds = list(self._seeds)
        self._rng.shuffle(seeds)
        for url in seeds:
            # Kept between tries: it knows what page fits through the link.
            sponsor = self._sponsors.setdefault(url, Peer("", "", url))
            try:
                await self._join(sponsor)
            except (PeerError, JournalFull, StoreError) as error:
                self._host.call_failed(url, JOIN, error)
                if isinstance(error, PeerRefused) and error.code in ENDED:
                    raise Ended(error.detail) from None
                continue
            return True
        return False

    async def _join(self, sponsor: Peer) -> None:
        system = self._host.projects.get(schema.SYSTEM_PROJECT)
        answer, _, _ = await self._exchange.call(
            sponsor,
            JOIN,
            {
                "peer_url": self._peer_url,
                "http_url": self._http_url,
                "seen": messages.flat_vv({} if system is None else system.replica.vv),
                "seen_by_project": self._seen_by_project(),
            },
        )
        try:
            sponsor.node = answer.text("node")
            sponsor.region = answer.text("region")
            wanted = answer.vv_by_project("projects")
        except Malformed as error:
            raise PeerNonsense(str(error)) from None
        if system is not None and self._is_no_sponsor(sponsor, wanted):
            # It has not been told yet: it begins anew, and comes back without that.
            raise PeerNonsense(f"{sponsor.node} has the state of an evicted node")
        for name in sorted(wanted, key=lambda n: n != schema.SYSTEM_PROJECT):
            await self._take(sponsor, name, wanted[name])
        if not self._host.is_member(self._host.identity.node, self._host.registration):
            raise PeerNonsense(f"{sponsor.node} answered the join, but its log does not register this node")

    def _is_no_sponsor(self, sponsor: Peer, wanted: Mapping[str, Mapping[int, int]]) -> bool:
        refused = self._host.why_no_member(sponsor.node, sponsor.answers_as)
        if refused is not None and refused.code in ENDED:
            return True
        if not self._from_nothing():
            return self._host.may_be_astray(wanted)
        # Half a state lacks much that a sound sponsor has, late changes of evicted nodes among it; but `_system` comes
        # first, and says who was evicted.
        return self._host.was_evicted(sponsor.node) or self._host.is_astray(wanted)

    def _seen_by_project(self) -> dict[str, list[int]]:
        """The vectors of all projects but `_system`, as many as have room.

        Of the others we hear when we learn of an end that we are beyond.
        """
        told: dict[str, list[int]] = {}
        room = SEEN_BYTES_MAX
        for name, project in sorted(self._host.projects.items()):
            room -= len(name.encode()) + SEEN_PAIR_BYTES * (1 + len(project.replica.vv))
            if room < 0 or len(told) >= messages.PROJECTS_MAX:
                break
            if name != schema.SYSTEM_PROJECT:
                told[name] = messages.flat_vv(project.replica.vv)
        return told

    async def _take(self, sponsor: Peer, name: str, wanted: Mapping[int, int]) -> None:
        project = self._host.open_project(name)
        if project is None:
            raise PeerNonsense(f"{name!r} cannot be a project")
        while not project.replica.covers(wanted):
            before = dict(project.replica.vv)
            await self._bring(sponsor, project)
            if project.replica.vv == before:
                raise PeerNonsense(f"{sponsor.node} does not send all of {name!r} that it says it has")
