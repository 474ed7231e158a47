"""What has failed is tried again sooner: pushes, writes to the store, pages of a snapshot.

Nothing may change: a pause keeps a struggling peer or store from being hammered, and nothing else leans on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node import region_writer
from vexil.node.gossip import loops, snapshot_source

PAUSE_MS_MIN: Final = 20
PAUSE_MS_MAX: Final = 400


@contextmanager
def _apply() -> Iterator[None]:
    with (
        patch.object(loops, "PUSH_PAUSE_MS_MIN", PAUSE_MS_MIN),
        patch.object(loops, "PUSH_PAUSE_MS_MAX", PAUSE_MS_MAX),
        patch.object(region_writer, "RETRY_MS_MIN", PAUSE_MS_MIN),
        patch.object(region_writer, "RETRY_MS_MAX", PAUSE_MS_MAX),
        patch.object(snapshot_source, "PAUSE_MS_MIN", PAUSE_MS_MIN),
        patch.object(snapshot_source, "PAUSE_MS_MAX", PAUSE_MS_MAX),
    ):
        yield


BENIGN: Final = Benign("shorter pauses", _apply)
