"""A retry takes a new dot: the idempotency key is not looked up."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.idempotency import IdempotencyIndex


def _lookup(self: IdempotencyIndex, key: str) -> None:
    return None


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(IdempotencyIndex, "lookup", _lookup):
        yield


BUG: Final = PlantedBug(18, "retry writes again", frozenset(("P13", "P3")), _apply)
