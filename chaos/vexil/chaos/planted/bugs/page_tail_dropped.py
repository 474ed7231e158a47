"""What does not fit into a page is dropped: the receiver believes that it has all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.gossip.messages import Message


@contextmanager
def _apply() -> Iterator[None]:
    sound = Message.flag

    def flag(self: Message, name: str) -> bool:
        return name != "more" and sound(self, name)

    with patch.object(Message, "flag", flag):
        yield


BUG: Final = PlantedBug(24, "page tail dropped", frozenset(("P3", "P9")), _apply, history="page-limit")
