"""The vector advances when a page is judged, before it is journalled.

A page that the disk refuses is never asked for again.
"""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.change import Change
from vexil.crdt.frontier import Frontier
from vexil.crdt.replica import Replica


@contextmanager
def _apply() -> Iterator[None]:
    sound_admit, sound_apply = Frontier.admit, Replica.apply

    def admit(self: Frontier, change: Change) -> None:
        sound_admit(self, change)
        replica = self._replica
        replica.vv[change.incarnation] = change.seq
        replica._chains[change.incarnation] = change.chain

    def apply(self: Replica, change: Change) -> None:
        ahead = self.vv.get(change.incarnation, 0)
        if ahead >= change.seq:
            self.vv[change.incarnation] = change.seq - 1
        head = self._chains.get(change.incarnation)
        sound_apply(self, change)
        if ahead > change.seq and head is not None:
            self.vv[change.incarnation] = ahead
            self._chains[change.incarnation] = head

    with patch.object(Frontier, "admit", admit), patch.object(Replica, "apply", apply):
        yield


BUG: Final = PlantedBug(
    13,
    "vector before page",
    frozenset(("P2", "P3", "P6", "P7", "P13")),
    _apply,
    profiles=frozenset(("disks",)),
)
