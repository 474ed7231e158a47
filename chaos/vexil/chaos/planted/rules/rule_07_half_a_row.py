"""Of a collected row the store drops `seen` first, and the lane that it hides some time later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.chaos.world import simulated_fold
from vexil.node import fold_order
from vexil.node.seams import FoldEntry


@contextmanager
def _apply() -> Iterator[None]:
    sound = fold_order.without

    def without(entry: FoldEntry, timestamp: int) -> FoldEntry | None:
        if not entry.lane_seq or not 0 < entry.seen_seq <= timestamp:
            return sound(entry, timestamp)
        return sound(entry._replace(lane_seq=timestamp + 1), timestamp)

    with patch.object(fold_order, "without", without), patch.object(simulated_fold, "without", without):
        yield


SWITCH: Final = SwitchedOff(7, "rowdel", _apply, profiles=frozenset(("crashes",)))
