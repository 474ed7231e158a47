"""Python's own garbage collector, kept from holding up the event loop.

A full collection looks at every object that there is: with 100,000 flags that takes most of a second. So it looks
only at what is new, and at little: what a node has loaded, or has taken over as a whole, stays, and is taken out of
the collector's sight. What is freed by its reference count is freed all the same.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import Final

import trio

LOOK_S: Final = 60.0
"""Between two full collections."""
OBJECTS_MAX: Final = 100_000
"""So many objects a full collection may look at (some 20 ms): more than that in one interval is state, not garbage."""
_YOUNG: Final = 700
_MIDDLE: Final = 10
_NEVER: Final = 1 << 30
"""Young objects are collected as Python does by default, all of them only by `run`."""


def hold_off() -> None:
    """A state is about to be loaded: there is nothing to be collected."""
    gc.disable()


def begin_anew() -> None:
    """A state has been given up: take it back into sight and collect it, before the next one is loaded."""
    gc.unfreeze()
    gc.collect()
    hold_off()


async def run(until_loaded: Callable[[], Awaitable[None]]) -> None:
    """Collect from the moment on that ``until_loaded`` returns, until cancelled."""
    await until_loaded()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
    gc.enable()
    while True:
        await trio.sleep(LOOK_S)
        if len(gc.get_objects(generation=2)) > OBJECTS_MAX:
            gc.freeze()
        else:
            gc.collect()
