"""More is promised while a record of the own journal still waits for its causes."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.caretaker import Caretaker


def _is_held(self: Caretaker) -> bool:
    return False


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Caretaker, "_is_held", _is_held):
        yield


SWITCH: Final = SwitchedOff(6, "jhold", _apply, profiles=frozenset(("disks", "crashes")))
