"""A value that cannot be read is an exception, and whoever reads many flags trips over the one."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt import cell_reader
from vexil.crdt import payload as payloads
from vexil.crdt.payload import UNREADABLE, Payload


def _decode(payload: bytes) -> Payload:
    decoded = payloads.decode(payload)
    if decoded.value is UNREADABLE:
        raise ValueError("not a payload")
    return decoded


@contextmanager
def _apply() -> Iterator[None]:
    cell_reader._said_small.cache_clear()
    with patch.object(cell_reader, "decode", _decode):
        yield
    cell_reader._said_small.cache_clear()


BUG: Final = PlantedBug(
    32,
    "one bad flag stops all",
    frozenset(("P12", "P15", "crash")),
    _apply,
    profiles=frozenset(("versions",)),
)
