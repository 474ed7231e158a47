"""Who belongs to the cluster: member records in `_system`, and how a node becomes one.

A joiner asks any member that its seeds name. That sponsor registers it by a change of its own, durably, before it
serves it anything; the joiner then pulls `_system` and every other project from its sponsor's log into its empty
state, and takes nothing else and accepts no writes until it has reached what the sponsor had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import trio

from vexil.crdt import schema, version_vector
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.replica import CellWrite
from vexil.node.authoring.intent import Intent
from vexil.node.directory import Directory
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.gossip.messages import Malformed
from vexil.node.gossip.peers import Peer
from vexil.node.gossip.service import JOIN
from vexil.node.seams import JournalFull, PeerError, PeerNonsense, PeerRefused, StoreError

JOIN_PAUSE_MS_MIN = 50
JOIN_PAUSE_MS_MAX = 500
MEMBERS_MAX = 1_000


def registration(directory: Directory, *, node: str, region: str, peer_url: str, http_url: str) -> Intent:
    """Make ``node`` a member, or bring its addresses up to date; empty if the record says just that.

    Raises PeerRefused for a name or region that cannot be one, for a member of that name in another region, and
    beyond `MEMBERS_MAX` members.
    """
    known = directory.members.get(node)
    if known is not None and known.registered:
        if known.region != region:
            raise PeerRefused("member.exists", f"{node} is a member in region {known.region!r}")
        if (known.peer_url, known.http_url) == (peer_url, http_url):
            return Intent()
    elif len(directory.members) >= MEMBERS_MAX:
        raise PeerRefused("limit.members", f"the cluster has {MEMBERS_MAX} members")
    if not schema.is_environment_name(region) or schema.parse_object(schema.member_object(node)) is None:
        raise PeerRefused("member.invalid", f"{node!r} in {region!r} cannot be a member")
    record = {"region": region, "peer_url": peer_url, "http_url": http_url}
    return Intent([CellWrite(schema.member_object(node), NO_GENERATION, schema.RECORD, record)])


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
    ) -> None:
        """A joiner that knows the peer URLs ``seeds``."""
        self._host = host
        self._exchange = exchange
        self._seeds = list(seeds)
        self._peer_url = peer_url
        self._http_url = http_url
        self._rng = rng
        self._sponsors: dict[str, Peer] = {}

    async def until_joined(self) -> None:
        """Ask the seeds, in random order and again and again, until this node has all that a sponsor had."""
        while not await self.try_once():  # noqa: ASYNC110 - other processes: nobody here could set an event
            await trio.sleep(self._rng.uniform(JOIN_PAUSE_MS_MIN, JOIN_PAUSE_MS_MAX) / 1000)

    async def try_once(self) -> bool:
        """Ask every seed once. True when joined."""
        seeds = list(self._seeds)
        self._rng.shuffle(seeds)
        for url in seeds:
            # Kept between tries: it knows what page fits through the link.
            sponsor = self._sponsors.setdefault(url, Peer("", "", url))
            try:
                await self._join(sponsor)
            except (PeerError, JournalFull, StoreError) as error:
                self._host.call_failed(url, JOIN, error)
                continue
            return True
        return False

    async def _join(self, sponsor: Peer) -> None:
        answer, _, _ = await self._exchange.call(
            sponsor, JOIN, {"peer_url": self._peer_url, "http_url": self._http_url}
        )
        try:
            sponsor.node = answer.text("node")
            sponsor.region = answer.text("region")
            wanted = answer.vv_by_project("projects")
        except Malformed as error:
            raise PeerNonsense(str(error)) from None
        for name in sorted(wanted, key=lambda n: n != schema.SYSTEM_PROJECT):
            await self._take(sponsor, name, wanted[name])
        if not self._host.is_member(self._host.identity.node):
            raise PeerNonsense(f"{sponsor.node} answered the join, but its log does not register this node")

    async def _take(self, sponsor: Peer, name: str, wanted: Mapping[int, int]) -> None:
        project = self._host.open_project(name)
        if project is None:
            raise PeerNonsense(f"{name!r} cannot be a project")
        while not version_vector.covers(project.replica.vv, wanted):
            before = dict(project.replica.vv)
            await self._exchange.pull(sponsor, project)
            if project.replica.vv == before:
                raise PeerNonsense(f"{sponsor.node} does not send all of {name!r} that it says it has")
