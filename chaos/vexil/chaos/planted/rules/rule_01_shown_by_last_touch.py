"""Of two generations of a flag the one that was touched last is shown: an edit of the other one flips the flag."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt import generation
from vexil.crdt.change import Dot
from vexil.crdt.generation import Existence


def _precedence(existence: Existence) -> tuple[int, int, Dot]:
    return (0, existence.winner.hlc, existence.generation)


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(generation, "_precedence", _precedence):
        yield


SWITCH: Final = SwitchedOff(1, "generations", _apply)
