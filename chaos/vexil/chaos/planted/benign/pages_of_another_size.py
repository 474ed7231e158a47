"""Pages of changes, pulled and pushed, are smaller by far.

Nothing may change: each page that is applied advances the vector, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.gossip import messages, peers

PAGE_BYTES: Final = 4_000
"""A dozen changes: fewer would take more round trips than a link between regions has time for."""


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(messages, "PAGE_BYTES", PAGE_BYTES), patch.object(peers, "PAGE_BYTES", PAGE_BYTES):
        yield


BENIGN: Final = Benign("pages of another size", _apply)
