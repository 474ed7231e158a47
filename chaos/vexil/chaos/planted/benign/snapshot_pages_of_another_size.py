"""Pages of a snapshot are smaller by far, so that one object may be spread over many.

Nothing may change: the reader of a cut says itself where it goes on, and takes nothing before it has all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.gossip import messages, snapshot_source, snapshots

PAGE_BYTES: Final = 1_500


@contextmanager
def _apply() -> Iterator[None]:
    with (
        patch.object(snapshots, "PAGE_BYTES", PAGE_BYTES),
        patch.object(snapshot_source, "PAGE_BYTES", PAGE_BYTES),
        # Of changes and of snapshots: nobody asks for less.
        patch.object(messages, "PAGE_BYTES_MIN", PAGE_BYTES),
    ):
        yield


BENIGN: Final = Benign("snapshot pages of another size", _apply)
