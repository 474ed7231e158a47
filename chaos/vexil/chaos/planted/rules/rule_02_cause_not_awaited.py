"""A change is applied as soon as it is next of its incarnation, whatever else its author had seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt.change import Change
from vexil.crdt.frontier import Frontier, Verdict


@contextmanager
def _apply() -> Iterator[None]:
    sound = Frontier.verdict

    def verdict(self: Frontier, change: Change) -> Verdict:
        found = sound(self, change)
        if found is Verdict.WAITING and change.seq == self._known(change.incarnation) + 1:
            return Verdict.NEXT
        return found

    with patch.object(Frontier, "verdict", verdict):
        yield


SWITCH: Final = SwitchedOff(2, "causal", _apply, profiles=frozenset(("links",)))
