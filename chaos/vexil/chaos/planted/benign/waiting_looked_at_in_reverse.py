"""Changes that wait for their causes are looked at in reverse order of their dots.

Nothing may change: each is judged by itself, and whatever has become applicable is looked for after every batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.crdt.change import Change
from vexil.node.project import Project


@contextmanager
def _apply() -> Iterator[None]:
    sound = Project.wait

    def wait(self: Project, change: Change) -> None:
        sound(self, change)
        self.waiting = dict(sorted(self.waiting.items(), reverse=True))

    with patch.object(Project, "wait", wait):
        yield


BENIGN: Final = Benign("waiting looked at in reverse", _apply)
