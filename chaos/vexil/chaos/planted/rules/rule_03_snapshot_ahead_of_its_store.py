"""A snapshot is served from memory, whether or not the sender's store has what it says."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.engine import Engine


async def _stored(self: Engine, project: str, vv: Mapping[int, int], *, timeout_ms: float) -> bool:
    await trio.lowlevel.checkpoint()
    return True


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Engine, "stored", _stored):
        yield


SWITCH: Final = SwitchedOff(3, "snapdur", _apply, profiles=frozenset(("copies", "disks")))
