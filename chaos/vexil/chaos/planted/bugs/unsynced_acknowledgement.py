"""A write is acknowledged before the journal is on the disk."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.world.simulated_disk import SimulatedJournal


async def _sync(self: SimulatedJournal, through: int) -> None:
    await trio.lowlevel.checkpoint()


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(SimulatedJournal, "_sync", _sync):
        yield


BUG: Final = PlantedBug(
    16,
    "unsynced acknowledgement",
    frozenset(("P3", "P2", "P9", "P13")),
    _apply,
    profiles=frozenset(("disks", "crashes")),
)
