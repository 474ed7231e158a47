"""The canonical bytes of a state are made twice, the second time from copies of its dictionaries in reverse.

Nothing may change: their order is that of names, generations and fields, whatever came first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt.replica import Replica


@contextmanager
def _apply() -> Iterator[None]:
    sound = Replica.canonical

    def canonical(self: Replica) -> Iterator[bytes]:
        first = list(sound(self))
        turned = Replica()
        turned.objects = {
            name: {
                generation: dict(reversed(fields.items())) for generation, fields in reversed(found.items())
            }
            for name, found in reversed(self.objects.items())
        }
        second = list(sound(turned))
        assert first == second, "the bytes depend on the order in which cells came"
        yield from second

    with patch.object(Replica, "canonical", canonical):
        yield


BENIGN: Final = Benign("canonical made twice", _apply, trace="same")
