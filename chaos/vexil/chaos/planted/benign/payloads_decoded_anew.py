"""No decoded payload is remembered.

Nothing may change: equal bytes say the same, and what is remembered is nothing that anybody might change.
"""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt import cell_reader


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(cell_reader, "_said_small", cell_reader._said):
        yield


BENIGN: Final = Benign("payloads decoded anew", _apply, trace="same")
