"""What is in memory is announced, before the store has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.announcements import Announcements
from vexil.node.caretaker import Caretaker


def _announcements(self: Caretaker) -> Announcements:
    if self._announcements.own is not None:
        vectors = {name: dict(project.replica.vv) for name, project in self._home.projects.items()}
        self._announcements.announce(vectors, hlc=1)
    return self._announcements


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Caretaker, "announcements", property(_announcements)):
        yield


SWITCH: Final = SwitchedOff(5, "anndur", _apply, profiles=frozenset(("disks", "crashes")))
