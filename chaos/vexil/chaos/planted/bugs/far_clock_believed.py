"""A clock that is a year ahead takes everybody along."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.hlc import HybridClock


def _is_suspect(self: HybridClock, hlc: int, wall_ms: int) -> bool:
    return False


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(HybridClock, "is_suspect", _is_suspect):
        yield


BUG: Final = PlantedBug(5, "far clock believed", frozenset(("P13",)), _apply, profiles=frozenset(("clocks",)))
