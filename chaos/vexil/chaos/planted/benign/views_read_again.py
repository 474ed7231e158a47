"""Every change has all objects read again from all of their cells, not only those that it touched.

Nothing may change: a view is a pure function of the cells, so what has not been touched reads as before.
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
        sound(self, changes)
        self.refresh_objects(list(self.replica.objects))

    with patch.object(Project, "refresh", refresh):
        yield


BENIGN: Final = Benign("views read again", _apply, trace="same")
