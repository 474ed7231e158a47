"""A tie of stamps is resolved by ``>=``: whatever arrives last wins, so each side keeps its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt import cell
from vexil.crdt.change import Change, Operation
from vexil.crdt.replica import Replica


@contextmanager
def _apply() -> Iterator[None]:
    sound = Replica.apply

    def apply(self: Replica, change: Change) -> None:
        def wrong(operation: Operation) -> Operation:
            lanes = cell.live(self.cell(operation.object, operation.generation, operation.field))
            others = [lane for lane in lanes if lane.incarnation != change.incarnation]
            cleared = [(lane.incarnation, lane.seq) for lane in others if lane.hlc == change.hlc]
            return operation._replace(seen=tuple(sorted({*operation.seen, *cleared})))

        sound(self, replace(change, operations=tuple(map(wrong, change.operations))))

    with patch.object(Replica, "apply", apply):
        yield


BUG: Final = PlantedBug(
    1, "tie resolved by arrival", frozenset(("P2", "P13")), _apply, profiles=frozenset(("clocks",))
)
