"""A restart goes on under the slot's old incarnation, and its seq goes on from what the store has.

What the journal holds of the dead process's own writes is forgotten: their dots are given out a second time.
"""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.change import Change, peek_dot
from vexil.node import startup
from vexil.node.engine import Engine
from vexil.node.startup import Loaded


@contextmanager
def _apply() -> Iterator[None]:
    sound_load, sound_offer = Engine._load, startup._offer

    async def load(self: Engine) -> None:
        row = await self.seams.store.read_member(self.settings.name)
        if row is not None:
            self.incarnation = row.incarnation
            self.pipeline.reincarnate(row.incarnation)
        await sound_load(self)

    def offer(loaded: Loaded, project: str, record_raw: bytes, pending: list[Change]) -> None:
        dot = peek_dot(record_raw)
        own = loaded.row is not None and dot is not None and dot[0] == loaded.row.incarnation
        if not own or pending is not loaded.pending.get(project):
            sound_offer(loaded, project, record_raw, pending)

    with patch.object(Engine, "_load", load), patch.object(startup, "_offer", offer):
        yield


BUG: Final = PlantedBug(
    6, "old name after crash", frozenset(("P3", "P11")), _apply, profiles=frozenset(("crashes",))
)
