"""A change that comes before its predecessor is applied at once, and the gap is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.change import Change
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.replica import Replica


@contextmanager
def _apply() -> Iterator[None]:
    sound_verdict, sound_apply = Frontier.verdict, Replica.apply

    def verdict(self: Frontier, change: Change) -> Verdict:
        found = sound_verdict(self, change)
        return Verdict.NEXT if found is Verdict.WAITING else found

    def apply(self: Replica, change: Change) -> None:
        self.vv[change.incarnation] = change.seq - 1
        sound_apply(self, change)

    with patch.object(Frontier, "verdict", verdict), patch.object(Replica, "apply", apply):
        yield


BUG: Final = PlantedBug(14, "gap skipped", frozenset(("P3", "P2", "P11")), _apply)
