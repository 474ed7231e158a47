"""Of two lanes with one dot each column is decided by itself: a lane comes out that nobody has written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt import cell


def _join_lane(flat: cell.Flat, i: int, seq: int, hlc: int, payload: bytes) -> None:
    if seq > flat[i + 1]:
        flat[i + 1 : i + 4] = (seq, hlc, payload)
    elif seq == flat[i + 1]:
        flat[i + 2 : i + 4] = (max(hlc, flat[i + 2]), max(payload, flat[i + 3]))


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(cell, "_join_lane", _join_lane):
        yield


SWITCH: Final = SwitchedOff(2, "columns", _apply, profiles=frozenset(("copies",)))
