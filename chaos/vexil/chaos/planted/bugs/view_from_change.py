"""The view is updated from the change that came in, not from the state that it was merged into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.change import Change
from vexil.crdt.payload import decode
from vexil.node.project import Project


@contextmanager
def _apply() -> Iterator[None]:
    sound = Project.refresh

    def refresh(self: Project, changes: Iterable[Change]) -> None:
        batch = list(changes)
        sound(self, batch)
        for change in batch:
            for operation in change.operations:
                key = operation.object.partition("/")[2]
                for environment in self.environments:
                    shown = self.flag_set(environment).flags.get(key)
                    value = decode(operation.payload).value
                    if (
                        operation.field == f"env/{environment}/default"
                        and shown is not None
                        and isinstance(value, str)
                    ):
                        self.flag_set(environment).replace_flag(key, {**shown, "default": value})

    with patch.object(Project, "refresh", refresh):
        yield


BUG: Final = PlantedBug(15, "view from change", frozenset(("P2", "P14")), _apply)
