"""A member that is evicted while it lives goes on being heard and answered."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.engine import Engine


def _why_no_member(self: Engine, node: str, registration: str) -> None:
    return None


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Engine, "why_no_member", _why_no_member):
        yield


BUG: Final = PlantedBug(
    36,
    "evicted not fenced",
    frozenset(("P3", "P11")),
    _apply,
    history="evicted-alive",
    profiles=frozenset(("members",)),
)
