"""Everybody has one more turn before a call to a peer, a read of the log, a batch and a round of the store's writer.

Nothing may change: each of these may take any time anyway, and looks at the state after it has begun.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.durability import Durability
from vexil.node.gossip.exchange import Exchange
from vexil.node.own_log import OwnLog
from vexil.node.pipeline import Pipeline
from vexil.node.region_writer import RegionWriter

SEAMS: Final[tuple[tuple[type, str], ...]] = (
    (Exchange, "call"),
    (OwnLog, "read"),
    (OwnLog, "read_missing"),
    (Pipeline, "write"),
    (Pipeline, "receive"),
    (Durability, "reached"),
    (RegionWriter, "flush"),
    (RegionWriter, "store_header"),
)


@contextmanager
def _apply() -> Iterator[None]:
    with ExitStack() as patches:
        for owner, name in SEAMS:
            patches.enter_context(patch.object(owner, name, _after_a_turn(getattr(owner, name))))
        yield


def _after_a_turn(sound: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def later(*arguments: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return await sound(*arguments, **options)

    return later


BENIGN: Final = Benign("turns at seams", _apply)
