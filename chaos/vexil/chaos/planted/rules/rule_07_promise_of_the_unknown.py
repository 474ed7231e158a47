"""A promise is relied on although something that it names is unknown here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node import caretaker, stability
from vexil.node.stability import Blocked, Stable, State


class KnowsAll:
    """A state that says to cover whatever it is asked for."""

    def __init__(self, state: State) -> None:
        """As ``state`` otherwise."""
        self.vv = state.vv

    def covers(self, vv: Mapping[int, int]) -> bool:
        """Always."""
        return True


@contextmanager
def _apply() -> Iterator[None]:
    sound = stability.stability

    def unguarded(project: str, state: State, system: State, **rest: Any) -> Stable | Blocked:
        return sound(project, KnowsAll(state), system, **rest)

    with patch.object(stability, "stability", unguarded), patch.object(caretaker, "stability", unguarded):
        yield


SWITCH: Final = SwitchedOff(7, "gchead", _apply, profiles=frozenset(("links",)))
