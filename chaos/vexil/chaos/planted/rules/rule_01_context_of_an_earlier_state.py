"""A change replaces what its author's node had at the change before, and not what the node has now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt import cell
from vexil.crdt.change import Change, Dot
from vexil.crdt.pen import CellWrite, Pen


@contextmanager
def _apply() -> Iterator[None]:
    sound_write, sound_dots = Pen.write, cell.live_dots

    def write(self: Pen, writes: Sequence[CellWrite], **options: Any) -> Change:
        earlier = dict(self._deps)

        def live_dots(packed: bytes, *, without: int) -> tuple[Dot, ...]:
            found = sound_dots(packed, without=without)
            return tuple(dot for dot in found if earlier.get(dot[0], 0) >= dot[1])

        with patch.object(cell, "live_dots", live_dots):
            return sound_write(self, writes, **options)

    with patch.object(Pen, "write", write):
        yield


SWITCH: Final = SwitchedOff(1, "ctx-state", _apply)
