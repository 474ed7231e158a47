"""A snapshot is joined although one of the two states has collected what the other has never seen."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001, SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt import merge
from vexil.crdt.merge import Merge
from vexil.crdt.replica import Replica
from vexil.node import snapshots


def _fits(live: Replica, header: bytes) -> bool:
    return True


@contextmanager
def _apply() -> Iterator[None]:
    sound = Merge._refuse

    def refuse(self: Merge) -> None:
        floors = self._live.floor, self._incoming.floor
        self._live.floor, self._incoming.floor = {}, {}
        try:
            sound(self)
        except merge.BelowFloor:
            return
        finally:
            self._live.floor, self._incoming.floor = floors

    with (
        patch.object(merge, "fits", _fits),
        patch.object(snapshots, "fits", _fits),
        patch.object(Merge, "_refuse", refuse),
        patch.object(Replica, "advance_floor", _advance_floor),
    ):
        yield


def _advance_floor(self: Replica, stable: dict[int, int]) -> None:
    """Without looking whether this state covers it."""
    for incarnation, seq in stable.items():
        if incarnation not in self.retired:
            self.floor[incarnation] = max(seq, self.floor.get(incarnation, 0))
    self.above_floor.clear()


SWITCH: Final = SwitchedOff(3, "floor", _apply, profiles=frozenset(("copies",)))
