"""A received page is journalled and applied change by change.

Nothing may change: a page is in an order in which it can be applied, and may break off behind any of its changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.gossip import intake


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(intake, "CHUNK_CHANGES", 1):
        yield


BENIGN: Final = Benign("received one by one", _apply)
