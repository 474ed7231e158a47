"""The log from before a snapshot, fetched later for the audit trail: who wrote what, back to the retention.

A state that came as a whole has no rows behind it. They follow in the background, newest first, a page at a time. No
row is believed for the sake of its sender: each must be the one that the row behind it (or the head that came with
the state) names as its predecessor in its incarnation's hash chain. Only of a retired incarnation, whose head nobody
keeps, the newest row is taken as it comes. What was fetched before a restart is in the log: `Store.log_start` says
where to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Undecodable, decode
from vexil.node.gossip import messages
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.gossip.messages import Malformed
from vexil.node.gossip.past_pages import CURSOR_BYTES_MAX, PAGE_BYTES, PAST
from vexil.node.gossip.peers import Peer
from vexil.node.past_walk import PastWalk
from vexil.node.project import Project
from vexil.node.seams import PeerError, PeerNonsense, Store, StoreError

PAUSE_MS: Final = 250
"""Between pages, with jitter: nobody waits for the past."""
RETRY_MS_MIN: Final = 1_000
RETRY_MS_MAX: Final = 60_000
PAGES_MAX: Final = 1_000_000
"""Of one walk through a peer's history, which a peer cannot make endless."""
DAY_MS: Final = 24 * 3600 * 1000


class Past:
    """Fetches what is missing, project by project, at a low rate. `run` must be running."""

    def __init__(
        self,
        host: Host,
        exchange: Exchange,
        peers: Mapping[str, Peer],
        store: Store,
        rng: Random,
        *,
        retention_days: int,
        stored: Callable[[str], Mapping[int, int]],
        on_refused: Callable[[str, str, int], None],
    ) -> None:
        """Nothing is wanted yet. ``on_refused(project, peer, rows)``: a peer has sent what its log cannot have.

        ``stored``: up to where nothing of a project is on its way to the store any more.
        """
        self._host = host
        self._exchange = exchange
        self._peers = peers
        self._store = store
        self._rng = rng
        self._on_refused = on_refused
        self._retention_ms = retention_days * DAY_MS
        self._stored = stored
        self._wanted: dict[str, None] = {}
        self._wake = trio.Event()
        self.followed: set[str] = set()
        """Projects of whose history all that is to be had has come, since the start."""

    def want(self, project: str) -> None:
        """The project's log does not begin at its beginning: fetch what is before it."""
        self._wanted[project] = None
        self._wake.set()

    async def run(self) -> None:
        """Fetch until cancelled."""
        pause_ms = RETRY_MS_MIN
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            for name in list(self._wanted):
                del self._wanted[name]
                project = self._host.projects.get(name)
                try:
                    complete = project is None or await self.fetch(project)
                except StoreError:  # counted where the store is watched; what was written stays
                    complete = False
                if complete:
                    self.followed.add(name)
                else:
                    self._wanted[name] = None
            if self._wanted:
                self._wake.set()
                await trio.sleep(pause_ms * self._rng.uniform(0.5, 1.5) / 1000)
                pause_ms = min(pause_ms * 2, RETRY_MS_MAX)
            else:
                pause_ms = RETRY_MS_MIN

    async def fetch(self, project: Project) -> bool:
        """Walk through the history of one peer after the other until nothing is missing, or all were asked.

        False if a peer did not answer, so that it is worth trying again. Raises StoreError.
        """
        complete = True
        peers = list(self._peers.values())
        self._rng.shuffle(peers)
        for peer in sorted(peers, key=lambda p: p.region != self._host.identity.region):
            snapshots = project.snapshots_taken
            if project.merging:
                return False
            walk = await self._begin(project)
            if not walk.wanted:
                return True
            try:
                if not await self._walk(peer, project, walk, snapshots):
                    return False
            except PeerError as error:
                self._host.call_failed(peer.node, PAST, error)
                complete = False
            if walk.refused:
                self._on_refused(project.name, peer.node, walk.refused)
            if not walk.wanted:
                return True
        return complete

    async def _begin(self, project: Project) -> PastWalk:
        replica = project.replica
        heads = dict(replica.heads())
        tops = {**replica.retired, **replica.vv}
        starts = dict(await self._store.log_start(project.name))
        for incarnation in await self._cut_off(project, starts):
            # A snapshot stands for rows that are not here, and for some of which others of this region had the first.
            del starts[incarnation]
        wanted = {i: starts.get(i, top) for i, top in tops.items()}
        oldest = hlcs.pack(max(0, self._host.wall_ms() - self._retention_ms))
        walk = PastWalk(
            {i: seq for i, seq in wanted.items() if seq},
            {},
            {i: seq + 1 for i, seq in starts.items()},
            oldest,
        )
        for incarnation in walk.wanted:
            if incarnation in starts:
                previous = await self._previous(project.name, incarnation, starts[incarnation])
                if previous is not None:
                    walk.chains[incarnation] = previous
            elif incarnation in heads:
                walk.chains[incarnation] = heads[incarnation]
        return walk

    async def _cut_off(self, project: Project, starts: Mapping[int, int]) -> set[int]:
        """Of incarnations that have rows here those whose newest one has none, though it is not on its way."""
        stored = self._stored(project.name)
        tops = {i: min(stored.get(i, 0), project.replica.vv.get(i, 0)) for i in starts}
        left = {i: top for i, top in tops.items() if top > starts[i]}
        missing = set(left)
        while left:
            rows = await self._store.read_changes(
                project.name,
                after={i: top - 1 for i, top in left.items()},
                through=left,
                limit_bytes=messages.PAGE_BYTES,
            )
            if not rows:
                break
            for row in rows:
                missing.discard(row.incarnation)
                left.pop(row.incarnation, None)
        return missing

    async def _previous(self, project: str, incarnation: int, start: int) -> bytes | None:
        """What the first row that is here says of the one before it."""
        rows = await self._store.read_changes(
            project, after={incarnation: start}, through={incarnation: start + 1}, limit_bytes=1
        )
        try:
            return decode(rows[0].raw).previous if rows else None
        except Undecodable:
            return None

    async def _walk(self, peer: Peer, project: Project, walk: PastWalk, snapshots: int) -> bool:
        """Take what ``peer`` has; False if a snapshot came in between. ``snapshots`` were taken when it began."""
        cursor = ""
        for _ in range(PAGES_MAX):
            answer, _, _ = await self._exchange.call(
                peer,
                PAST,
                {
                    "project": project.name,
                    "cursor": cursor,
                    "first": messages.flat_vv(walk.first),
                    "page_bytes": min(PAGE_BYTES, peer.page_bytes),
                },
            )
            try:
                raws = answer.changes("changes")
                following = answer.text("cursor", limit_bytes=CURSOR_BYTES_MAX)
                more = answer.flag("more")
            except Malformed as error:
                raise PeerNonsense(str(error)) from None
            self._host.count_bytes("received", "payload", messages.total_bytes(raws))
            for raw in raws:
                try:
                    walk.offer(project.name, decode(raw))
                except Undecodable:
                    walk.refused += 1
            async with project.log_turn:
                if project.merging or project.snapshots_taken != snapshots:
                    # The log ends somewhere else now: what was begun behind its old end is not of its past.
                    return False
                if walk.records:
                    await self._store.write_past(project.name, walk.records)
                    walk.records = []
            if not more or not walk.wanted or following == cursor:
                break
            cursor = following
            await trio.sleep(PAUSE_MS * self._rng.uniform(0.5, 1.5) / 1000)
        return True
