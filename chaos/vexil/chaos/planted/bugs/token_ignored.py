"""A node does not wait for what a token names: who fails over to it reads what is older than what he has seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.engine import Engine


@contextmanager
def _apply() -> Iterator[None]:
    sound = Engine.wait_for

    async def wait_for(self: Engine, project: str, vv: Mapping[int, int], timeout_ms: float) -> bool:
        if not self.ready:
            # A node that starts waits for its own: no client is served yet.
            return await sound(self, project, vv, timeout_ms)
        await trio.lowlevel.checkpoint()
        return True

    with patch.object(Engine, "wait_for", wait_for):
        yield


BUG: Final = PlantedBug(31, "token ignored", frozenset(("P6",)), _apply, profiles=frozenset(("links",)))
