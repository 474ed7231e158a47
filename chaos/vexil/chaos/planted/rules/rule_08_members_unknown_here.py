"""A promise is relied on although whoever made it knows of members that are unknown here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.rules.rule_07_promise_of_the_unknown import KnowsAll
from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node import caretaker, stability
from vexil.node.stability import Blocked, Stable, State


@contextmanager
def _apply() -> Iterator[None]:
    sound = stability.stability

    def unguarded(project: str, state: State, system: State, **rest: Any) -> Stable | Blocked:
        return sound(project, state, KnowsAll(system), **rest)

    with patch.object(stability, "stability", unguarded), patch.object(caretaker, "stability", unguarded):
        yield


SWITCH: Final = SwitchedOff(8, "members", _apply, profiles=frozenset(("members",)))
