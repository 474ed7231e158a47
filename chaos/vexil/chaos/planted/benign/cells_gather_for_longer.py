"""Cells gather for longer before they go to the store, when nobody waits for it.

Nothing may change: what the store lacks is in the journal, and only what the store has is announced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node import region_writer

FLUSH_INTERVAL_MS: Final = 1_300


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(region_writer, "FLUSH_INTERVAL_MS", FLUSH_INTERVAL_MS):
        yield


BENIGN: Final = Benign("cells gather for longer", _apply)
