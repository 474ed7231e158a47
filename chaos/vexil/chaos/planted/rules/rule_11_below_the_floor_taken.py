"""A new change is applied although its author had not seen all whose garbage has been collected here."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt.change import Change
from vexil.crdt.frontier import Frontier, Verdict


def _against_floor(self: Frontier, change: Change, known: int) -> Verdict:
    return Verdict.NEXT


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Frontier, "_against_floor", _against_floor):
        yield


SWITCH: Final = SwitchedOff(11, "quarantine", _apply, profiles=frozenset(("copies", "links")))
