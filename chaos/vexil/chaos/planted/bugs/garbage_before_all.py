"""Garbage is collected as soon as this node itself has all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.caretaker import Caretaker
from vexil.node.project import Project
from vexil.node.stability import Stable


def _stability(self: Caretaker, project: Project) -> Stable:
    own = self.announcements.own
    told = None if own is None else self.announcements.of(own)
    return Stable({} if told is None else dict(told.vector(project.name)), [])


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Caretaker, "stability", _stability):
        yield


BUG: Final = PlantedBug(
    11, "garbage before all", frozenset(("P3", "P4", "P9")), _apply, history="garbage-waits-for-the-cut-off"
)
