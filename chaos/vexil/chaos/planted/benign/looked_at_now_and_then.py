"""Whoever waits for something looks again now and then, also when nobody has told him that it has come.

Nothing may change: a signal only says that it is worth while to look, and everybody looks before he goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.signal import Signal

EVERY_MS: Final = 15


@contextmanager
def _apply() -> Iterator[None]:
    async def until(self: Signal, holds: Callable[[], bool], *, timeout_ms: float) -> bool:
        with trio.move_on_after(timeout_ms / 1000):
            while not holds():
                with trio.move_on_after(EVERY_MS / 1000):
                    await self._event.wait()
            return True
        return holds()

    with patch.object(Signal, "until", until):
        yield


BENIGN: Final = Benign("looked at now and then", _apply)
