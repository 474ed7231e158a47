"""Objects stand in the order of their last change and not of their first; fields in reverse with every change.

Nothing may change: whatever is compared, sent or stored by place is sorted, or shown by a cut that keeps its own.
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
        for name in dict.fromkeys(operation.object for operation in change.operations):
            generations = self.objects.pop(name)
            self.objects[name] = {g: dict(reversed(generations[g].items())) for g in reversed(generations)}

    with patch.object(Replica, "apply", apply):
        yield


BENIGN: Final = Benign("cells in another order", _apply, trace="either")
