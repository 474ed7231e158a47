"""Stamps jump ahead by some counts more than they need.

Nothing may change: a stamp is above all that came before it, and a few counts are far less than clocks differ by.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt.hlc import HybridClock

COUNTS: Final = 7


@contextmanager
def _apply() -> Iterator[None]:
    sound = HybridClock.tick

    def tick(self: HybridClock, wall_ms: int) -> int:
        self.last = sound(self, wall_ms) + COUNTS
        return self.last

    with patch.object(HybridClock, "tick", tick):
        yield


BENIGN: Final = Benign("stamps a little ahead", _apply)
