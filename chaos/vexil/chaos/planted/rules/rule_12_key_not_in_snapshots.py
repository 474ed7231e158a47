"""A snapshot comes without the keys of the changes that it stands for."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.idempotency import IdempotencyIndex, Remembered


def _entries(self: IdempotencyIndex) -> list[tuple[str, Remembered]]:
    return []


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(IdempotencyIndex, "entries", _entries):
        yield


SWITCH: Final = SwitchedOff(12, "key-snapshot", _apply, profiles=frozenset(("copies",)))
