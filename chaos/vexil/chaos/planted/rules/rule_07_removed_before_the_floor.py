"""The store drops what was collected before it has the floor that tells of it."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.region_writer import RegionWriter


@contextmanager
def _apply() -> Iterator[None]:
    sound = RegionWriter._write_round

    async def write_round(self: RegionWriter, captured: Mapping[str, Any]) -> None:
        for project, dirty in captured.items():
            await self._until_taken(self._remove, project, dirty)
        await sound(self, captured)

    with patch.object(RegionWriter, "_write_round", write_round):
        yield


SWITCH: Final = SwitchedOff(7, "floorfirst", _apply, profiles=frozenset(("crashes", "disks")))
