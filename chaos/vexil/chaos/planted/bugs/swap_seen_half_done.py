"""The flag sets are brought up to date flag by flag, and others have a turn in between: who reads then sees a half.

Whoever waits for the batch, or is told of it, finds it whole.
"""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.change import Change
from vexil.node.pipeline import Pipeline
from vexil.node.project import Project

TURN_MS: Final = 15
"""How long the others have the event loop to themselves between two flags."""


@contextmanager
def _apply() -> Iterator[None]:
    sound_turn, sound_apply = Pipeline._turn, Pipeline._apply
    journalled: dict[int, Any] = {}

    async def turn(self: Pipeline) -> None:
        await sound_turn(self)
        batch = journalled.pop(id(self), None)
        if batch is not None:
            await _swap(self, batch)

    async def _swap(self: Pipeline, batch: Any) -> None:
        unread: list[tuple[Project, Change]] = []
        advanced: list[Project] = []
        jobs = [*(job for *_, job in batch.staged if job is not None), *batch.remote]
        waited_for = [job.done for job in jobs]
        for job in jobs:
            job.done = trio.Event()

        def refresh(self: Project, changes: Iterable[Change]) -> None:
            unread.extend((self, change) for change in changes)

        with (
            patch.object(Project, "refresh", refresh),
            patch.object(self._observer, "advanced", advanced.append),
        ):
            sound_apply(self, batch)
        for project, change in unread:
            for part in _object_by_object(change):
                project.refresh([part])
                await trio.sleep(TURN_MS / 1000)
        for project in advanced:
            self._observer.advanced(project)
        for event in waited_for:
            event.set()

    def keep(self: Pipeline, batch: Any) -> None:
        journalled[id(self)] = batch

    with patch.object(Pipeline, "_turn", turn), patch.object(Pipeline, "_apply", keep):
        yield


def _object_by_object(change: Change) -> Iterator[Change]:
    names = dict.fromkeys(operation.object for operation in change.operations)
    for name in names:
        yield replace(change, operations=tuple(o for o in change.operations if o.object == name))


BUG: Final = PlantedBug(
    28, "swap seen half done", frozenset(("P7", "P10", "P14")), _apply, profiles=frozenset(("storms", "calm"))
)
