"""Which incarnations have two histories, as far as this node knows.

A copied process writes under its original's incarnation until one of the two finds out. Whoever notices tells it on
with every digest, because the two may never meet: the one that hears its own name takes a new one.
"""

from __future__ import annotations

from collections.abc import Callable

from vexil.node.alarms import Alarms

FORKED_MAX = 10_000


class Forks:
    """The known forks of one node."""

    def __init__(self, alarms: Alarms, on_news: Callable[[int], None]) -> None:
        """``on_news`` is called with an incarnation after anything new has been noted about it."""
        self.incarnations: set[int] = set()
        """Shared with every project: what a change has seen of these is not waited for."""
        self._told: set[tuple[str, int]] = set()
        self._alarms = alarms
        self._on_news = on_news

    def note(self, project: str, incarnation: int, sender: str) -> None:
        """``sender`` has, or knows of, another history; every digest between the branches tells it again."""
        if (project, incarnation) in self._told:
            return
        if len(self._told) < FORKED_MAX:
            self._told.add((project, incarnation))
            self.incarnations.add(incarnation)
        self._alarms.fork(project, incarnation, sender)
        self._on_news(incarnation)
