"""The objects that a batch has touched are read in reverse.

Nothing may change: each object is read from its own cells alone, and the flag sets are stamped after all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt.change import Change
from vexil.node.project import Project


@contextmanager
def _apply() -> Iterator[None]:
    sound = Project.refresh

    def refresh(self: Project, changes: Iterable[Change]) -> None:
        sound(self, reversed(list(changes)))

    with patch.object(Project, "refresh", refresh):
        yield


BENIGN: Final = Benign("views read in reverse", _apply, trace="same")
