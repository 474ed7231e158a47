"""The merge is not idempotent: what comes again is taken as news, and a lane that meets itself is changed."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt import cell
from vexil.crdt.change import Change
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.replica import Replica


@contextmanager
def _apply() -> Iterator[None]:
    sound_verdict, sound_admit = Frontier.verdict, Frontier.admit
    sound_apply, sound_join = Replica.apply, cell._join_lane

    def verdict(self: Frontier, change: Change) -> Verdict:
        found = sound_verdict(self, change)
        return Verdict.NEXT if found is Verdict.DUPLICATE else found

    def admit(self: Frontier, change: Change) -> None:
        if change.seq > self._known(change.incarnation):
            sound_admit(self, change)

    def apply(self: Replica, change: Change) -> None:
        reached = self.vv.get(change.incarnation, 0)
        head = self.head(change.incarnation)
        if change.seq > reached:
            sound_apply(self, change)
            return
        self.vv[change.incarnation] = change.seq - 1
        sound_apply(self, change)
        self.vv[change.incarnation] = reached
        self._chains[change.incarnation] = head

    def join_lane(flat: list[Any], i: int, seq: int, hlc: int, payload: bytes) -> None:
        again = (seq, hlc, payload) == tuple(flat[i + 1 : i + 4])
        sound_join(flat, i, seq, hlc + again, payload)

    with (
        patch.object(Frontier, "verdict", verdict),
        patch.object(Frontier, "admit", admit),
        patch.object(Replica, "apply", apply),
        patch.object(cell, "_join_lane", join_lane),
    ):
        yield


BUG: Final = PlantedBug(10, "merge counts twice", frozenset(("P1", "P2")), _apply)
