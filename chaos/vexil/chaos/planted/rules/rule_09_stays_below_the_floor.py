"""A state that can never be brought up to date any more, an old copy, goes on as it is."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.enrolment import Enrolment


def _below_floor(self: Enrolment) -> None:
    return


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Enrolment, "below_floor", _below_floor):
        yield


SWITCH: Final = SwitchedOff(9, "wipe", _apply, profiles=frozenset(("copies",)))
