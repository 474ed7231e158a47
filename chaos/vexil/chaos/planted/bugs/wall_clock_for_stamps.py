"""Stamps are taken from the wall clock: they run backwards when it is set back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.hlc import HybridClock, pack


def _tick(self: HybridClock, wall_ms: int) -> int:
    self.last = pack(wall_ms)
    return self.last


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(HybridClock, "tick", _tick):
        yield


BUG: Final = PlantedBug(
    3, "wall clock for stamps", frozenset(("P13",)), _apply, profiles=frozenset(("clocks",))
)
