"""The fold's vector is stored before its cells: a crash in between, and the cells are missing for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.region_writer import RegionWriter


async def _one_round(self: RegionWriter) -> None:
    captured, self._dirty = self._dirty, {}
    vectors = {p: dict(self.replicas[p].vv) for p in captured}
    headers = {p: self.replicas[p].header() for p in captured}
    for project, dirty in captured.items():
        await self._until_taken(self._write_rows, project, dirty, vectors[project])
    if not captured:
        return
    await self._until_taken(self._write_vectors, vectors)
    await self._until_taken(self._write_headers, headers)
    for project, dirty in captured.items():
        await self._until_taken(self._write_cells, project, dirty)
    self.fold_stored.update(vectors)


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(RegionWriter, "_one_round", _one_round):
        yield


BUG: Final = PlantedBug(
    27,
    "vector before cells",
    frozenset(("P2", "P3", "P7", "P13", "crash")),
    _apply,
    profiles=frozenset(("crashes", "disks")),
)
