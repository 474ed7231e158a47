"""Received changes are applied and confirmed without being journalled: only the region's store will have them."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt.change import Change
from vexil.node import pipeline
from vexil.node.project import Project


@contextmanager
def _apply() -> Iterator[None]:
    batch = pipeline._Batch
    sound = batch.stage

    def stage(self: Any, project: Project, change: Change, job: pipeline.LocalJob | None) -> None:
        sound(self, project, change, job)
        if job is None:
            self.records.pop()

    with patch.object(batch, "stage", stage):
        yield


SWITCH: Final = SwitchedOff(6, "jremote", _apply, profiles=frozenset(("disks", "crashes")))
