"""A large project takes other settings: everything is read again beside what is served, and then takes its place.

Until the last object has been read the project serves what it served before. What is applied meanwhile is read on
both sides in the same turn, so neither ever lags behind the other, and the exchange at the end loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from vexil.crdt.segment_state import segment_document
from vexil.node.project import Project
from vexil.sdk.model import FlagSet


class Rereading(Project):
    """The same replica under settings to come. Keys and segments, which no setting changes, are the served one's."""

    def __init__(self, served: Project, environments: Sequence[str], bucketing: str) -> None:
        """Begin for ``served``, of which everything has been read; nothing is read yet."""
        super().__init__(served.name, served.replica, on_defect=served.on_defect)
        self._served = served
        self._shared = served.views()
        self.environments = tuple(sorted(environments))
        self.bucketing = bucketing
        self._flag_sets = {e: FlagSet() for e in self.environments if e not in self._shared.flag_sets}
        self._flag_keys = self._shared.flag_keys
        self._segments = self._shared.segments
        self._segment_keys = self._shared.segment_keys

    async def run(self) -> None:
        """Read in bounded turns, then take the place of what is served; cancelled, it leaves no trace."""
        self._served.followed_by = self._follow
        try:
            for _ in self.refresh_in_turns():
                await trio.lowlevel.checkpoint()
            self._served.take_over(
                self.environments,
                self.bucketing,
                added=self._flag_sets,
                conflicts=self._conflicts,
                quarantined=self.quarantined,
            )
        finally:
            self._served.followed_by = None

    def _follow(self, name: str) -> None:
        self._refresh(name, ())

    def _refresh_segment(self, name: str, key: str, fields: Sequence[str]) -> None:
        # A segment may have a million members: it is read once, by the project that serves it.
        state = self._segments.get(key)
        self._serve_segment(key, None if state is None else segment_document(state))
        defect = self._shared.quarantined.get(name)
        self._record(name, self._shared.conflicts.get(name, ()), defect)
