"""What is replaced goes when everybody has it, whether or not everybody has what replaced it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt import cell as cells
from vexil.crdt import garbage
from vexil.crdt.garbage import Collected, IsStable


@contextmanager
def _apply() -> Iterator[None]:
    sound = garbage.collected

    def collected(cell: bytes, is_stable: IsStable, *, removable: bool = True) -> Collected:
        flat = cells.unpacked(cell)
        removers = {(flat[i + 5], flat[i + 6]) for i in range(0, len(flat), cells.WIDTH) if flat[i + 4]}
        return sound(cell, lambda i, seq: (i, seq) in removers or is_stable(i, seq), removable=removable)

    with patch.object(garbage, "collected", collected):
        yield


SWITCH: Final = SwitchedOff(7, "gcby", _apply, profiles=frozenset(("links",)))
