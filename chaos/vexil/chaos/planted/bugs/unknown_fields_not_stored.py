"""A node keeps in its store what it can read: fields of a newer version are gone when it has started again.

Its vector says that it has their changes, and its root hash is the stored one, so nobody sends them a second time.
"""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.change import Dot
from vexil.crdt.policy import Policy
from vexil.crdt.schema import RETIRED_OBJECT, policy_of
from vexil.node import region_writer
from vexil.node.seams import FoldEntry


@contextmanager
def _apply() -> Iterator[None]:
    sound = region_writer._fold_entries

    def known(
        name: str, generation: Dot, field: str, packed: bytes, incarnations: Iterable[int]
    ) -> Iterable[FoldEntry]:
        if name != RETIRED_OBJECT and policy_of(name, generation, field) is Policy.OPAQUE:
            return ()
        return sound(name, generation, field, packed, incarnations)

    with patch.object(region_writer, "_fold_entries", known):
        yield


BUG: Final = PlantedBug(
    30,
    "unknown fields not stored",
    frozenset(("P2", "P3", "P7", "P13")),
    _apply,
    profiles=frozenset(("versions",)),
)
