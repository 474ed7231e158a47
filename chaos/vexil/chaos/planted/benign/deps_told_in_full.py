"""A change names all that its author had seen, and not only what is new since its last one.

Nothing may change: `deps` only grow along an incarnation, and whoever reads them joins them with those before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt.change import Change
from vexil.crdt.pen import CellWrite, Pen


@contextmanager
def _apply() -> Iterator[None]:
    sound = Pen.write

    def write(self: Pen, writes: Sequence[CellWrite], **options: Any) -> Change:
        self._deps.clear()
        return sound(self, writes, **options)

    with patch.object(Pen, "write", write):
        yield


BENIGN: Final = Benign("deps told in full", _apply)
