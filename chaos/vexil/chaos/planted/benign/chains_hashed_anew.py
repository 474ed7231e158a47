"""The chain hash of a change is made anew each time that somebody asks for it.

Nothing may change: it follows from the bytes of the change and the hash before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt.change import Change, chain_hash


def _chain(self: Change) -> bytes:
    return chain_hash(self.previous, self.raw)


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Change, "chain", property(_chain)):
        yield


BENIGN: Final = Benign("chains hashed anew", _apply, trace="same")
