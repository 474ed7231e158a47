"""A node that comes back from an eviction forgets what it had written and nobody else had."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.returning import Returning


async def _work_through(self: Returning) -> None:
    await trio.lowlevel.checkpoint()


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Returning, "_work_through", _work_through):
        yield


SWITCH: Final = SwitchedOff(9, "reissue", _apply, profiles=frozenset(("members",)))
