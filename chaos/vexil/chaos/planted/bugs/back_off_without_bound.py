"""Every failure makes the pause eight times as long, and nothing bounds it.

A long outage is followed by a longer one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.peers import Peer
from vexil.node.seams import PeerError


@contextmanager
def _apply() -> Iterator[None]:
    sound = Exchange.sync
    pauses_s: dict[tuple[int, str], float] = {}

    async def sync(self: Exchange, peer: Peer) -> None:
        key = (id(self), peer.node)
        try:
            await sound(self, peer)
        except PeerError:
            pauses_s[key] = pauses_s.get(key, 1.0) * 8
            await trio.sleep(pauses_s[key])
            raise
        pauses_s.pop(key, None)

    with patch.object(Exchange, "sync", sync):
        yield


BUG: Final = PlantedBug(
    23, "back-off without bound", frozenset(("P9",)), _apply, profiles=frozenset(("links",))
)
