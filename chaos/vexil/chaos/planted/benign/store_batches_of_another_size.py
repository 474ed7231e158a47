"""The fold's cells go to the store in batches of another size.

Nothing may change: a batch is no transaction, and the header that tells of the cells comes after the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node import region_writer

BATCH_CELLS: Final = 15
"""A failed batch has all of its round repeated: with a handful each, a bad store would never take one."""


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(region_writer, "FOLD_BATCH_CELLS", BATCH_CELLS):
        yield


BENIGN: Final = Benign("store batches of another size", _apply)
