"""When a node talks to whom: pushes as changes come, digests by the clock, pulls when something is missing.

Every interval has jitter; failures add no back-off beyond the next turn of the digest loop, so a healed link is used
within one interval. A peer that has been silent for improbably long is chosen less often, never never.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

import trio

from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.gossip.peers import Peer
from vexil.node.seams import JournalFull, PeerError, StoreError

PUSH_QUEUE_BYTES_MAX = 1 << 20
"""Per peer; what does not fit is left to the next pull."""
PUSH_PAUSE_MS_MIN = 100
PUSH_PAUSE_MS_MAX = 1_000
PULLS_WANTED_MAX = 1_000
SUSPECT_CHANCE = 0.25
"""How often a suspected peer that was drawn is called all the same."""
JITTER = 0.2
FIRST_PAUSE = 0.2
"""Share of an interval within which the first digest after a start is sent."""


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """Intervals and fan-out (DESIGN.md section 4)."""

    interval_region_ms: int = 1_000
    interval_remote_ms: int = 5_000
    fanout_remote: int = 2


@dataclass(slots=True)
class _Outbox:
    """What waits for one peer."""

    changes: deque[tuple[str, bytes]] = field(default_factory=deque)
    size: int = 0
    wanted: dict[str, None] = field(default_factory=dict)
    wake: trio.Event = field(default_factory=trio.Event)

    def put(self, project: str, raw: bytes) -> None:
        if self.size + len(raw) > PUSH_QUEUE_BYTES_MAX:
            # A part of what is queued would leave a gap at the peer anyway: it pulls all of it.
            self.changes.clear()
            self.size = 0
            return
        self.changes.append((project, raw))
        self.size += len(raw)
        self.wake.set()

    def take(self) -> dict[str, list[bytes]]:
        batch: dict[str, list[bytes]] = {}
        for project, raw in self.changes:
            batch.setdefault(project, []).append(raw)
        self.changes.clear()
        self.size = 0
        return batch


class Loops:
    """The tasks of gossip; all end with the nursery that `run` is given."""

    def __init__(
        self, host: Host, exchange: Exchange, peers: dict[str, Peer], settings: GossipSettings, rng: Random
    ) -> None:
        """Loops over ``peers``, which the engine keeps equal to the registered members (without ourselves)."""
        self._host = host
        self._exchange = exchange
        self._peers = peers
        self._settings = settings
        self._rng = rng
        self._outboxes: dict[str, _Outbox] = {}
        self._running: set[str] = set()
        self._syncing: set[str] = set()
        """Regions with which a digest exchange of the loops is under way."""
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Gossip until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._digests, self._settings.interval_region_ms, True)
            nursery.start_soon(self._digests, self._settings.interval_remote_ms, False)
            self.peers_changed()
            try:
                await trio.sleep_forever()
            finally:
                # A batch that is seen through to the disk meanwhile must not start tasks in a nursery that closes.
                self._nursery = None

    def peers_changed(self) -> None:
        """The membership has changed: give every new peer its task."""
        if self._nursery is None:
            return
        for node in sorted(self._peers):
            if node not in self._running:
                self._running.add(node)
                self._nursery.start_soon(self._serve_outbox, node)

    def push(self, project: str, raw: bytes) -> None:
        """Queue a local change for every node of our region and for some of each other region."""
        regions: dict[str, list[str]] = {}
        for node, peer in self._peers.items():
            regions.setdefault(peer.region, []).append(node)
        for region, nodes in sorted(regions.items()):
            chosen = sorted(nodes)
            if region != self._host.identity.region and len(chosen) > self._settings.fanout_remote:
                chosen = self._rng.sample(chosen, self._settings.fanout_remote)
            for node in chosen:
                self._outbox(node).put(project, raw)

    def want_pull(self, node: str, project: str) -> None:
        """``node`` has something of ``project`` that we lack: pull it soon."""
        outbox = self._outbox(node)
        if len(outbox.wanted) < PULLS_WANTED_MAX:
            outbox.wanted[project] = None
            outbox.wake.set()

    async def catch_up(self, *, timeout_ms: int) -> bool:
        """One bounded try to get level with somebody, our own region first. True if an exchange went through."""
        with trio.move_on_after(timeout_ms / 1000):
            peers = list(self._peers.values())
            self._rng.shuffle(peers)
            for peer in sorted(peers, key=lambda p: p.region != self._host.identity.region):
                if await self._attempt("digest", peer):
                    return True
        return False

    def _outbox(self, node: str) -> _Outbox:
        outbox = self._outboxes.get(node)
        if outbox is None:
            outbox = self._outboxes[node] = _Outbox()
        return outbox

    async def _serve_outbox(self, node: str) -> None:
        """One request in flight a peer: pushes, and pulls that were asked for."""
        outbox = self._outbox(node)
        while node in self._peers:
            await outbox.wake.wait()
            outbox.wake = trio.Event()
            peer = self._peers.get(node)
            if peer is None:
                break
            try:
                batch = outbox.take()
                if batch:
                    await self._exchange.push(peer, batch)
                while outbox.wanted:
                    name = next(iter(outbox.wanted))
                    del outbox.wanted[name]
                    project = self._host.projects.get(name)
                    if project is not None:
                        await self._exchange.pull(peer, project)
            except (PeerError, JournalFull, StoreError) as error:
                self._host.call_failed(node, "push", error)
                await trio.sleep(self._rng.uniform(PUSH_PAUSE_MS_MIN, PUSH_PAUSE_MS_MAX) / 1000)
        self._running.discard(node)

    async def _digests(self, interval_ms: int, own_region: bool) -> None:  # noqa: FBT001 - started by start_soon
        # A node that has just started knows nothing fresh: it does not wait a whole interval to ask.
        pause = self._rng.uniform(0, FIRST_PAUSE)
        while True:
            await trio.sleep(interval_ms * pause / 1000)
            pause = self._rng.uniform(1 - JITTER, 1)
            regions: dict[str, list[Peer]] = {}
            for node in sorted(self._peers):
                peer = self._peers[node]
                if (peer.region == self._host.identity.region) is own_region:
                    regions.setdefault(peer.region, []).append(peer)
            for region in sorted(regions):
                # A long pull from one region must not keep the others from their digests.
                if region not in self._syncing and self._nursery is not None:
                    self._syncing.add(region)
                    self._nursery.start_soon(self._sync_region, region, self._choose(regions[region]))

    async def _sync_region(self, region: str, peer: Peer) -> None:
        try:
            await self._attempt("digest", peer)
        finally:
            self._syncing.discard(region)

    def _choose(self, peers: list[Peer]) -> Peer:
        drawn = self._rng.choice(peers)
        if drawn.suspected and self._rng.random() >= SUSPECT_CHANCE:
            sound = [p for p in peers if not p.suspected]
            if sound:
                return self._rng.choice(sound)
        return drawn

    async def _attempt(self, method: str, peer: Peer) -> bool:
        try:
            await self._exchange.sync(peer)
        except (PeerError, JournalFull, StoreError) as error:
            self._host.call_failed(peer.node, method, error)
            return False
        return True
