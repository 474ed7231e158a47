"""The root hash is summed up from all cells with every change, and not kept up to date with it.

Nothing may change: it is a function of the cells, and the incremental one is only quicker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt.change import Change
from vexil.crdt.replica import Replica


@contextmanager
def _apply() -> Iterator[None]:
    sound = Replica.apply

    def apply(self: Replica, change: Change) -> None:
        sound(self, change)
        self.root = self.recomputed_root()

    with patch.object(Replica, "apply", apply):
        yield


BENIGN: Final = Benign("root from scratch", _apply, trace="same")
