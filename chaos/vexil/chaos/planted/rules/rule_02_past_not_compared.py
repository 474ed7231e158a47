"""Nobody looks at the hash chains: a change that is next by its number is taken, whatever past it goes on from."""

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
        if found is not Verdict.FORK:
            return found
        return Verdict.NEXT if change.seq > self._known(change.incarnation) else Verdict.DUPLICATE

    with patch.object(Frontier, "verdict", verdict):
        yield


SWITCH: Final = SwitchedOff(2, "chain", _apply, profiles=frozenset(("copies",)))
