"""Whoever calls only fetches; what the other side lacks it is left to fetch itself, if it can call at all."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.peers import Peer
from vexil.node.project import Project


async def _offer(
    self: Exchange, peer: Peer, project: Project, theirs: Mapping[int, int], stopped: object = ()
) -> None:
    await trio.lowlevel.checkpoint()


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Exchange, "_offer", _offer), patch.object(Exchange, "push", _push):
        yield


async def _push(self: Exchange, peer: Peer, changes: Mapping[str, list[bytes]]) -> None:
    await trio.lowlevel.checkpoint()


BUG: Final = PlantedBug(
    22, "gossip one way", frozenset(("P9",)), _apply, history="one-way-link", profiles=frozenset(("links",))
)
