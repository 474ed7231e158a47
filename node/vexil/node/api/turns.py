"""Large answers in many turns of the event loop, so that every other request is answered meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import trio

TURN_FLAGS: Final = 200
"""Flags that are evaluated or exported in one turn (some 3 ms for flags of the usual size)."""


async def in_turns(keys: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    """``keys`` in slices of `TURN_FLAGS`; between two of them all other tasks get their turn."""
    for start in range(0, len(keys), TURN_FLAGS):
        if start:
            await trio.lowlevel.checkpoint()
        yield keys[start : start + TURN_FLAGS]
