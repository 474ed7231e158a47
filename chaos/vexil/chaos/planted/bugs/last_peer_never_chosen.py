"""The choice of a peer is off by one: the last one of a region is never chosen, and so a lone one is never called.

What was pushed and lost on the way to it stays lost, unless it calls somebody itself who can be called.
"""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.gossip.loops import Loops
from vexil.node.gossip.peers import Peer


@contextmanager
def _apply() -> Iterator[None]:
    sound_choose, sound_sync = Loops._choose, Loops._sync_region

    def choose(self: Loops, peers: list[Peer]) -> Peer:
        return sound_choose(self, peers[:-1] or peers)

    async def sync_region(self: Loops, region: str, peer: Peer) -> None:
        if sum(other.region == region for other in self._peers.values()) > 1:
            await sound_sync(self, region, peer)
        else:
            await trio.lowlevel.checkpoint()
            self._syncing.discard(region)

    with patch.object(Loops, "_choose", choose), patch.object(Loops, "_sync_region", sync_region):
        yield


BUG: Final = PlantedBug(
    21,
    "last peer never chosen",
    frozenset(("P9",)),
    _apply,
    history="last-of-its-region",
    profiles=frozenset(("links",)),
)
