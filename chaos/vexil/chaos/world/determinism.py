"""The one place that makes trio deterministic, and the random streams that everything else draws from.

trio shuffles the order of runnable tasks on purpose. Its private hook for Hypothesis sorts them before it shuffles
and lets the shuffle be seeded: with that, with virtual time, and with no call to the real world, one seed is one
history. The hook is private, therefore trio is pinned to an exact version.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, TypeVar
from unittest.mock import patch

import trio
import trio._core._run as trio_run

from vexil.chaos.world.virtual_time import VirtualClock

TRIO_VERSION: Final = "0.35.0"

COLLECT_AFTER: Final = 200_000
"""So many new objects between two searches for cycles: those of most runs are found at their ends.

Python looks far more often by itself, and a tenth of a run is spent on it.
"""

T = TypeVar("T")


class Streams:
    """Independent generators by name, all from one seed: drawing more from one changes nothing in another."""

    def __init__(self, seed: int) -> None:
        """The streams of ``seed``."""
        self.seed = seed

    def stream(self, *names: object) -> Random:
        """A new generator; the same names give the same numbers, in every process."""
        # Seeded by text: hashed with SHA-512 and not with hash(), which differs from process to process.
        return Random("/".join(map(str, (self.seed, *names))))


def run_deterministically(seed: int, main: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """`trio.run` on virtual time that jumps as soon as every task waits; the same seed gives the same schedule.

    ``trio.sleep`` is the clock's own inside. Raises `Stuck` (in ``main``) if nothing can happen any more.
    """
    assert trio.__version__ == TRIO_VERSION, f"the hook is known in trio {TRIO_VERSION} only"
    hook: Any = trio_run
    clock = VirtualClock()
    thresholds = gc.get_threshold()
    before = hook._ALLOW_DETERMINISTIC_SCHEDULING  # noqa: SLF001 - the reason for the pin
    hook._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    hook._r.seed(seed)  # noqa: SLF001
    gc.set_threshold(COLLECT_AFTER, *thresholds[1:])
    try:
        with patch.object(trio, "sleep", clock.sleep):
            return trio.run(main, *arguments, clock=clock)
    finally:
        gc.set_threshold(*thresholds)
        hook._ALLOW_DETERMINISTIC_SCHEDULING = before  # noqa: SLF001
