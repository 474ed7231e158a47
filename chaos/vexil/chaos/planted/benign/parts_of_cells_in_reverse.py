"""The parts of a cell go to the store in descending order of their incarnations.

Nothing may change: each part is a row of its own, rows may land in any order, and reading sorts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt import cell
from vexil.crdt.cell import Entry


@contextmanager
def _apply() -> Iterator[None]:
    sound = cell.entries

    def entries(packed: bytes, only: Iterable[int] | None = None) -> list[Entry]:
        return sound(packed, only)[::-1]

    with patch.object(cell, "entries", entries):
        yield


BENIGN: Final = Benign("parts of cells in reverse", _apply, trace="either")
