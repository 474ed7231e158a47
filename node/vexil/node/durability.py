"""How durable a write is, and what is asked for: ``node`` < ``peer`` < ``region``.

``node``: this node's journal. ``peer``: at least one other node's journal too. ``region``: the region's store.
Nothing is acknowledged above what has been seen; what cannot be had is refused before anything is journalled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from vexil.crdt.change import Dot, render_id
from vexil.node import errors
from vexil.node.gossip.peers import Peer
from vexil.node.region_writer import RegionWriter
from vexil.node.seams import Store
from vexil.node.signal import Signal

NODE: Final = "node"
PEER: Final = "peer"
REGION: Final = "region"
LEVELS: Final = (NODE, PEER, REGION)
WAIT_MS = 2_000
"""How long a write waits for the durability that it wants before the answer says less, or says unknown."""


class Durability:
    """Answers, for one change, how durable it has become."""

    def __init__(
        self,
        store: Store,
        writer: RegionWriter,
        peers: Callable[[], Iterable[Peer]],
        acknowledged: Signal,
        made_elsewhere: Callable[[int], bool],
    ) -> None:
        """``acknowledged`` is notified when a peer has told that it has more.

        ``made_elsewhere`` says whether another node wrote under an incarnation: then that node's journal has it.
        """
        self._store = store
        self._writer = writer
        self._peers = peers
        self._acknowledged = acknowledged
        self._made_elsewhere = made_elsewhere

    def admit(self, asked: str) -> None:
        """Refuse what plainly cannot be had now. Raises DurabilityUnavailable."""
        if asked == REGION:
            if self._store.durability != REGION:
                raise errors.DurabilityUnavailable(
                    "this node's store is its own disk: a region's store is needed"
                )
            if not self._writer.available:
                raise errors.DurabilityUnavailable("the region's store does not answer")
        elif asked == PEER and not any(_in_reach(p) for p in self._peers()):
            raise errors.DurabilityUnavailable("no other node is in reach")

    async def reached(self, project: str, dot: Dot, asked: str) -> str:
        """Wait for ``asked`` ("" means the best that is to be had without trouble) and say what was reached.

        Raises WriteIndeterminate if ``asked`` has not been reached in `WAIT_MS`: the change is journalled here.
        """
        if asked == REGION or (asked == "" and self._store.durability == REGION and self._writer.available):
            self._writer.hurry()
            if await self._writer.advanced.until(lambda: self._stored(project, dot), timeout_ms=WAIT_MS):
                return REGION
            if asked:
                raise errors.WriteIndeterminate(
                    render_id(dot), "the region's store has not confirmed the write"
                )
        if asked == PEER or (asked == "" and self._store.durability == REGION):
            if await self._acknowledged.until(lambda: self._at_a_peer(project, dot), timeout_ms=WAIT_MS):
                return PEER
            if asked:
                raise errors.WriteIndeterminate(render_id(dot), "no other node has confirmed the write")
        return NODE

    def of_log(self, dot: Dot, asked: str) -> str:
        """The same of a change that is not here, and that the store's log has told of: that log has it.

        Raises WriteIndeterminate if ``asked`` is more than that.
        """
        if asked and LEVELS.index(asked) > LEVELS.index(self._store.durability):
            raise errors.WriteIndeterminate(
                render_id(dot), "this node has not seen the change that is retried"
            )
        return self._store.durability

    def _stored(self, project: str, dot: Dot) -> bool:
        return self._writer.stored.get(project, {}).get(dot[0], 0) >= dot[1]

    def _at_a_peer(self, project: str, dot: Dot) -> bool:
        if self._made_elsewhere(dot[0]):
            # A retry at this node of what another one took: it journalled before it sent.
            return True
        return any(p.vv.get(project, {}).get(dot[0], 0) >= dot[1] for p in self._peers())


def _in_reach(peer: Peer) -> bool:
    return peer.heard_s is not None and not peer.unreachable and not peer.suspected
