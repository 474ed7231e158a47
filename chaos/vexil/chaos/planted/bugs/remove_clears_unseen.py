"""A removal clears everything that is in the cell where it arrives, also what its author had not seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt import cell
from vexil.crdt.change import Change, Operation
from vexil.crdt.payload import is_tombstone
from vexil.crdt.replica import Replica


@contextmanager
def _apply() -> Iterator[None]:
    sound = Replica.apply

    def apply(self: Replica, change: Change) -> None:
        def wrong(operation: Operation) -> Operation:
            lanes = cell.live(self.cell(operation.object, operation.generation, operation.field))
            removes = is_tombstone(operation.payload)
            others = [lane for lane in lanes if lane.incarnation != change.incarnation]
            cleared = [(lane.incarnation, lane.seq) for lane in others if removes]
            return operation._replace(seen=tuple(sorted({*operation.seen, *cleared})))

        sound(self, replace(change, operations=tuple(map(wrong, change.operations))))

    with patch.object(Replica, "apply", apply):
        yield


BUG: Final = PlantedBug(8, "remove clears unseen", frozenset(("P13", "P2")), _apply)
