"""Large answers in many turns of the event loop, so that every other request is answered meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import trio

TURN_FLAGS: Final = 200
"""Flags that are evaluated or exported in one turn (some 3 ms for flags of the usual size)."""
TURN_S: Final = 0.005
"""What evaluating may take of one turn before the next flag: rules may loop over whatever a caller sends."""
SLOW_TURN_S: Final = 4 * TURN_S
OTHERS_S_MAX: Final = 0.05
"""What is left to all other tasks after a turn that took so long, at most."""


async def in_turns(keys: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    """``keys`` in slices of `TURN_FLAGS`; between two of them all other tasks get their turn."""
    for start in range(0, len(keys), TURN_FLAGS):
        if start:
            await trio.lowlevel.checkpoint()
        yield keys[start : start + TURN_FLAGS]


async def key_by_key(keys: Sequence[str]) -> AsyncIterator[str]:
    """``keys``; all other tasks get their turn after `TURN_FLAGS` of them, or once `TURN_S` is over.

    Whoever needs several turns for one answer would wait for as many slow flags: after a turn of `SLOW_TURN_S` the
    others have the loop for themselves for as long as that took, `OTHERS_S_MAX` at most.
    """
    began_s = trio.current_time()
    for number, key in enumerate(keys):
        took_s = trio.current_time() - began_s
        if number and (number % TURN_FLAGS == 0 or took_s >= TURN_S):
            await trio.sleep(min(took_s, OTHERS_S_MAX) if took_s >= SLOW_TURN_S else 0)
            began_s = trio.current_time()
        yield key
