"""Only the node that made a change remembers its idempotency key."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt.change import Change
from vexil.node.idempotency import IdempotencyIndex
from vexil.node.pipeline import Pipeline


@contextmanager
def _apply() -> Iterator[None]:
    sound_apply, sound_register = Pipeline._apply, IdempotencyIndex.register

    def apply(self: Pipeline, batch: Any) -> None:
        def register(index: IdempotencyIndex, change: Change) -> None:
            if change.incarnation == self.incarnation:
                sound_register(index, change)

        with patch.object(IdempotencyIndex, "register", register):
            sound_apply(self, batch)

    with patch.object(Pipeline, "_apply", apply):
        yield


SWITCH: Final = SwitchedOff(12, "key", _apply, profiles=frozenset(("links",)))
