"""The pipeline takes one write, or one received page, at a time: each has an append of its own.

Nothing may change: what shares a batch is decided on the state before it, and touches different objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node import pipeline


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(pipeline, "BATCH_CHANGES_MAX", 1), patch.object(pipeline, "BATCH_LOCAL_MAX", 1):
        yield


BENIGN: Final = Benign("one change a batch", _apply)
