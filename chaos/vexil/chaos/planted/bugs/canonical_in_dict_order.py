"""The canonical bytes follow the order in which things arrived."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt import replica
from vexil.crdt.replica import Replica


def _canonical(self: Replica) -> Iterator[bytes]:
    for name, generations in self.objects.items():
        for generation, fields in generations.items():
            if replica.generation_counts(generation, fields):
                for field, packed in fields.items():
                    yield from replica._records(name, generation, field, packed)


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Replica, "canonical", _canonical):
        yield


BUG: Final = PlantedBug(20, "canonical in dict order", frozenset(("P2",)), _apply)
