"""What the store suite needs of an implementation: sessions of a slot, and a restart."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Protocol

from tests.contract.rows import causes_of_row
from vexil.chaos.world.simulated_store import SimulatedRegion, SimulatedStore
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import Store

ASIDE_LIMIT = 20
"""Small, so that a test reaches it."""


class StoreWorld(Protocol):
    async def connect(self) -> Store:
        """Another session of the same slot; earlier ones go on."""

    async def close(self) -> None:
        """End all sessions."""


class SqliteStoreWorld:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "node.sqlite"
        self._open: list[SqliteStore] = []

    async def connect(self) -> SqliteStore:
        store = await SqliteStore.aopen(self._path, causes=causes_of_row, aside_limit=ASIDE_LIMIT)
        self._open.append(store)
        return store

    async def close(self) -> None:
        while self._open:
            await self._open.pop().aclose()


class SimulatedStoreWorld:
    def __init__(self) -> None:
        self._region = SimulatedRegion(random.Random(0), causes=causes_of_row, aside_limit=ASIDE_LIMIT)
        self._open: list[SimulatedStore] = []

    async def connect(self) -> SimulatedStore:
        self._open.append(self._region.connect("eu-1"))
        return self._open[-1]

    async def close(self) -> None:
        while self._open:
            self._open.pop().kill()
