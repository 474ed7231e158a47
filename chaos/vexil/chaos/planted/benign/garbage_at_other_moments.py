"""Rounds of garbage collection come three times as often.

Nothing may change: what may be collected is decided by what the members have announced, never by the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.collector import Collector


@contextmanager
def _apply() -> Iterator[None]:
    sound = Collector.__init__

    def init(self: Collector, *arguments: Any, interval_ms: int) -> None:
        sound(self, *arguments, interval_ms=interval_ms // 3)

    with patch.object(Collector, "__init__", init):
        yield


BENIGN: Final = Benign("garbage at other moments", _apply)
