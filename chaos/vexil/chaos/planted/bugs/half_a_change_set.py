"""Of a change that touches several objects only the first one is shown until something else happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.change import Change
from vexil.node.project import Project


@contextmanager
def _apply() -> Iterator[None]:
    sound = Project.refresh

    def refresh(self: Project, changes: Iterable[Change]) -> None:
        sound(self, [_first_object_of(change) for change in changes])

    with patch.object(Project, "refresh", refresh):
        yield


def _first_object_of(change: Change) -> Change:
    if change.author == "setup":
        return change
    return replace(
        change, operations=tuple(o for o in change.operations if o.object == change.operations[0].object)
    )


BUG: Final = PlantedBug(25, "half a change set", frozenset(("P7", "P2")), _apply)
