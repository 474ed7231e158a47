"""Which incarnations have two histories, as far as this node knows.

A copied process writes under its original's incarnation until one of the two finds out. Whoever notices tells it on
with every digest, because the two may never meet: the one that hears its own name takes a new one. The slot's row in
the store keeps the set, because a node that starts while it is cut off has nobody to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final

from vexil.node.alarms import Alarms
from vexil.node.seams import Entropy

INCARNATION_BYTES: Final = 8
FORKED_MAX = 10_000
"""Beyond it forks are alarms only: some 90 KiB in a digest and in the slot's row."""


def fresh_incarnation(entropy: Entropy, *, moment: str = "") -> int:
    """An id that nobody else has taken, and that a copy of this machine does not take too.

    A copied machine may go on with its original's entropy. Where the two stand in time tells them apart: they learn of
    each other at different moments. ``moment`` says when that was; it is empty at a start.
    """
    while True:
        drawn = entropy.token_bytes(INCARNATION_BYTES)
        digest = blake2b(drawn, digest_size=INCARNATION_BYTES, key=moment.encode()).digest()
        incarnation = int.from_bytes(digest, "big")
        if incarnation:
            return incarnation


class Forks:
    """The known forks of one node."""

    def __init__(self, alarms: Alarms, on_news: Callable[[int], None]) -> None:
        """``on_news`` is called with an incarnation after anything new has been noted about it."""
        self.incarnations: set[int] = set()
        """Shared with every project: what a change has seen of these is not waited for."""
        self._told: set[tuple[str, int]] = set()
        self._alarms = alarms
        self._on_news = on_news

    def restore(self, incarnations: Iterable[int]) -> None:
        """Take what an earlier process of this slot knew. No alarm: whoever meets such a fork again raises it."""
        for incarnation in incarnations:
            self._remember(incarnation)

    def note(self, project: str, incarnation: int, sender: str) -> None:
        """``sender`` has, or knows of, another history; every digest between the branches tells it again."""
        if (project, incarnation) in self._told:
            return
        if len(self._told) < FORKED_MAX:
            self._told.add((project, incarnation))
            self._remember(incarnation)
            # Beyond the bound nobody could say what was told before: an alarm with every digest would drown the others.
            self._alarms.fork(project, incarnation, sender)
        self._on_news(incarnation)

    def _remember(self, incarnation: int) -> None:
        if len(self.incarnations) < FORKED_MAX:
            self.incarnations.add(incarnation)
