"""Work on a whole state that would hold everybody up if it were done at once: done in turns of the event loop."""

from __future__ import annotations

from collections.abc import Generator

import trio

from vexil.crdt.replica import Replica
from vexil.node.project import TURN_OBJECTS
from vexil.sdk.model import FlagSet


async def in_turns(steps: Generator[None, None, list[str]]) -> list[str]:
    """What ``steps`` returns; others have a turn between two of them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            names: list[str] = end.value
            return names
        await trio.lowlevel.checkpoint()


async def let_go(shown: list[FlagSet], incoming: Replica) -> None:
    """Free what nobody needs any more, the documents and the cells of a whole state, in slices.

    It is not cancelled: its caller has just switched to another state, and must not take that for undone.
    """
    while shown or incoming.objects:
        parts: list[object]
        if shown:
            parts = list(shown.pop().flags.values())
        else:
            parts, incoming.objects = list(incoming.objects.values()), {}
        while parts:
            await trio.lowlevel.cancel_shielded_checkpoint()
            del parts[-TURN_OBJECTS:]
