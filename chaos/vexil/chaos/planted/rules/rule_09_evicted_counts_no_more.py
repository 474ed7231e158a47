"""Whoever is evicted is waited for no more, although others may not know of it and take its changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node import caretaker, stability
from vexil.node.directory import Registration


def _counted(registrations: Sequence[Registration], *_: object) -> list[Registration]:
    return [r for r in registrations if r.evicted_by is None]


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(stability, "counted", _counted), patch.object(caretaker, "counted", _counted):
        yield


SWITCH: Final = SwitchedOff(9, "evstable", _apply, profiles=frozenset(("members",)))
