"""Peers of a region are called in turn, and not by draw.

Nothing may change: every peer is called as often as any other one, suspected or not, and no choice is remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.gossip.loops import Loops
from vexil.node.gossip.peers import Peer


@contextmanager
def _apply() -> Iterator[None]:
    turns: Counter[tuple[int, str]] = Counter()

    def choose(self: Loops, peers: list[Peer]) -> Peer:
        place = (id(self), peers[0].region)
        turns[place] += 1
        return peers[turns[place] % len(peers)]

    with patch.object(Loops, "_choose", choose):
        yield


BENIGN: Final = Benign("peers in turn", _apply)
