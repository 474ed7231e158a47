"""The clock does not advance on receive: a reply may be stamped before what it replies to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.hlc import HybridClock


def _observe(self: HybridClock, hlc: int, wall_ms: int) -> bool:
    return self.is_suspect(hlc, wall_ms)


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(HybridClock, "observe", _observe):
        yield


BUG: Final = PlantedBug(
    4, "stamps not received", frozenset(("P13",)), _apply, profiles=frozenset(("clocks",))
)
