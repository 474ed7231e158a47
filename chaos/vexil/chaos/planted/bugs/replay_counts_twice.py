"""A start does the last own change of its journal once more, although the stored state has it: under a new number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.change import Change, decode
from vexil.crdt.payload import decode as decode_payload
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import startup
from vexil.node.seams import Journal, Store


@contextmanager
def _apply() -> Iterator[None]:
    sound = startup.load

    async def load(store: Store, journal: Journal, slot: str, **options: Any) -> startup.Loaded:
        loaded = await sound(store, journal, slot, **options)
        own: dict[str, Change] = {}
        async for batch in journal.replay(after={}):
            for record in batch:
                if loaded.row is not None and record.incarnation == loaded.row.incarnation:
                    own[record.project] = decode(record.raw)
        own.pop(SYSTEM_PROJECT, None)
        for project, change in own.items():
            replica = loaded.replica(project)
            writes = [
                CellWrite(o.object, o.generation, o.field, decode_payload(o.payload).value)
                for o in change.operations
            ]
            again = Pen(replica, change.incarnation).write(writes, hlc=change.hlc + 1, author=slot)
            replica.apply(again)
            loaded.unfolded.setdefault(project, []).append(again)
        return loaded

    with patch.object(startup, "load", load):
        yield


BUG: Final = PlantedBug(
    35,
    "replay counts twice",
    frozenset(("P1", "P13")),
    _apply,
    history="replayed-once",
    profiles=frozenset(("crashes",)),
)
