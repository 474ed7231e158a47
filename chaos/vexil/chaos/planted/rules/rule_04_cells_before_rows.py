"""The fold's cells are stored before the rows that they are made of and before the vector that tells of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.region_writer import RegionWriter


async def _write_round(self: RegionWriter, captured: Mapping[str, Any]) -> None:
    vectors = {p: dict(self.replicas[p].vv) for p in captured}
    headers = {p: self.replicas[p].header() for p in captured}
    for project, dirty in captured.items():
        await self._until_taken(self._write_cells, project, dirty)
    for project, dirty in captured.items():
        if not self._store.shares_journal:
            await self._until_taken(self._write_rows, project, dirty, vectors[project])
    await self._until_taken(self._write_vectors, vectors)
    await self._until_taken(self._write_headers, headers)
    self.fold_stored.update(vectors)
    for project, dirty in captured.items():
        await self._until_taken(self._remove, project, dirty)


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(RegionWriter, "_write_round", _write_round):
        yield


SWITCH: Final = SwitchedOff(4, "rowfirst", _apply, profiles=frozenset(("crashes", "disks")))
