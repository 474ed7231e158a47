"""Wall clocks that are wrong, and entropy that is not: both by node, both from the seed.

A simulated wall clock is virtual time bent by an offset, a drift and steps. Durations are never taken from it, which
is what the simulation shows by stepping it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

import trio

EPOCH_MS: Final = 1_700_000_000_000
"""Virtual second zero on a true clock."""
YEAR_MS: Final = 365 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class ClockFaults:
    """How one node's wall clock is wrong; the defaults are a true clock."""

    offset_ms: int = 0
    """Ahead of true time (behind, if negative) from the start."""
    drift_ppm: float = 0.0
    """Microseconds gained in each true second."""
    granularity_ms: int = 1
    """It only shows multiples of this: a coarse clock makes equal stamps likely."""


class SimulatedClock:
    """``Clock`` of one node. It belongs to the machine and outlives processes."""

    def __init__(self, faults: ClockFaults | None = None) -> None:
        """A clock as ``faults`` says (None: a true one)."""
        self.faults = faults if faults is not None else ClockFaults()
        self.shown_ms_max = 0
        """The latest time that anybody has read here."""
        self._stepped_ms = 0.0
        self._drift_ppm = self.faults.drift_ppm

    def drift(self, ppm: float) -> None:
        """From now on gain so many microseconds more in each true second; what is shown now does not change."""
        self._stepped_ms -= trio.current_time() * ppm / 1000
        self._drift_ppm += ppm

    def step(self, ms: int) -> None:
        """Set the clock forward, or back."""
        self._stepped_ms += ms

    def set_right(self) -> None:
        """Let it show true time at this moment; it drifts as before."""
        self._stepped_ms = -self.faults.offset_ms - trio.current_time() * self._drift_ppm / 1000

    def wall_ms(self) -> int:
        """``Clock.wall_ms``."""
        true_ms = trio.current_time() * 1000
        shown = true_ms * (1 + self._drift_ppm / 1e6) + self.faults.offset_ms + self._stepped_ms
        wall_ms = int(EPOCH_MS + shown) // self.faults.granularity_ms * self.faults.granularity_ms
        self.shown_ms_max = max(self.shown_ms_max, wall_ms)
        return wall_ms


class SeededEntropy:
    """``Entropy`` from a seeded generator."""

    def __init__(self, rng: Random) -> None:
        """Bytes of ``rng``."""
        self._rng = rng

    def token_bytes(self, count: int) -> bytes:
        """``Entropy.token_bytes``."""
        return self._rng.randbytes(count)
