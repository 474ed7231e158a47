"""The projects in which a digest finds a difference are levelled in reverse.

Nothing may change: every project has its own log and vector, and promises are compared after all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.gossip.messages import Heads, Message


@contextmanager
def _apply() -> Iterator[None]:
    sound = Message.heads_by_project

    def heads_by_project(self: Message, name: str) -> dict[str, tuple[Heads, str]]:
        return dict(reversed(sound(self, name).items()))

    with patch.object(Message, "heads_by_project", heads_by_project):
        yield


BENIGN: Final = Benign("digests compared in reverse", _apply)
