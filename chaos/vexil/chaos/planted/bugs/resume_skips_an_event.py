"""Whoever resumes a stream at a position is told of what comes behind the next one, as if he had that already.

It takes two changes while he was away: of one alone the whole way is the last step.
"""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch
from weakref import WeakKeyDictionary

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.api.sdk_stream import _Stream
from vexil.node.feed import Delta, Feed, Position


@contextmanager
def _apply() -> Iterator[None]:
    sound_resumed, sound_since = _Stream._resumed, Feed.since
    resumed: WeakKeyDictionary[Feed, set[int]] = WeakKeyDictionary()

    def resume(self: _Stream, feed: Feed) -> Position | None:
        position = sound_resumed(self, feed)
        if position is not None:
            resumed.setdefault(feed, set()).add(position.number)
        return position

    def since(self: Feed, number: int) -> Delta | None:
        delta = sound_since(self, number)
        behind = [step for step in self._steps if step.position.number > number]
        if delta is None or len(behind) < 2 or number not in resumed.get(self, ()):
            return delta
        skipping = Delta(delta.since)
        for step in behind[1:]:
            skipping.add(step)
        return skipping

    with patch.object(_Stream, "_resumed", resume), patch.object(Feed, "since", since):
        yield


BUG: Final = PlantedBug(
    33, "resume skips an event", frozenset(("P6", "P14")), _apply, profiles=frozenset(("links", "crashes"))
)
