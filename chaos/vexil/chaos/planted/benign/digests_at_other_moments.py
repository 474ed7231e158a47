"""The pause between two digests is drawn from a wider range with the same upper end.

Nothing may change: an interval is a bound from above, and nobody counts digests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.gossip import loops

JITTER: Final = 0.6


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(loops, "JITTER", JITTER):
        yield


BENIGN: Final = Benign("digests at other moments", _apply)
