"""An unknown outcome is reported as a definite failure: the client does it again, or believes it was not done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.errors import WriteIndeterminate


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(WriteIndeterminate, "definite", new=True):
        yield


BUG: Final = PlantedBug(17, "timeout as failure", frozenset(("P3",)), _apply)
