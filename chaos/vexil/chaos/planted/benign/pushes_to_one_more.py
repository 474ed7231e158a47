"""Every local change is pushed to one more node of each other region.

Nothing may change: a push only saves a digest; whoever gets a change twice takes it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.gossip.loops import GossipSettings, Loops
from vexil.node.gossip.peers import Peer


@contextmanager
def _apply() -> Iterator[None]:
    sound = Loops.__init__

    def init(
        self: Loops,
        host: Host,
        exchange: Exchange,
        peers: dict[str, Peer],
        settings: GossipSettings,
        rng: Random,
    ) -> None:
        more = replace(settings, fanout_remote=settings.fanout_remote + 1)
        sound(self, host, exchange, peers, more, rng)

    with patch.object(Loops, "__init__", init):
        yield


BENIGN: Final = Benign("pushes to one more", _apply)
