"""A snapshot's cells are as they are when they are read, its vector as it was at the cut."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt.replica import Replica


def _keep(self: Replica, name: str) -> None:
    return


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Replica, "_keep", _keep):
        yield


SWITCH: Final = SwitchedOff(3, "cut", _apply, profiles=frozenset(("copies", "members")))
