"""A process that meets its own copy raises the alarm and goes on under the incarnation that both have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.engine import Engine


@contextmanager
def _apply() -> Iterator[None]:
    def fork_seen(self: Engine, project: str, incarnation: int, sender: str) -> None:
        self.forks.incarnations.add(incarnation)
        self.alarms.fork(project, incarnation, sender)

    with patch.object(Engine, "fork_seen", fork_seen):
        yield


BUG: Final = PlantedBug(
    7,
    "copy keeps its name",
    frozenset(("P3", "P11")),
    _apply,
    history="clone",
    profiles=frozenset(("copies",)),
)
