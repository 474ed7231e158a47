"""What a project's refreshes have changed of what it serves, noted while they do it, for whoever sends it on.

A change of the log says which cells it wrote; what became of them in each environment only the reading tells. So the
project tells a `ServedChanges`, if somebody follows it, whenever it puts another document in the place of one. Only
names are noted: what is sent later is what is served then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

EVALUATORS: Final = "evaluators"
METADATA: Final = "metadata"
NOTED_MAX: Final = 20_000
"""Flags and members that are noted of one batch; one that changes more is not told in parts."""

Members = dict[str, bool]
"""Members of a segment that were touched, and whether they belonged to it before."""


class ServedChanges:
    """What has changed since the last `take`. Flags by environment, segments for all of them."""

    __slots__ = ("_noted", "flags", "segments", "settings", "whole")

    def __init__(self) -> None:
        """Nothing has."""
        self.whole = False
        """Everything may be another now."""
        self.flags: dict[str, dict[str, bool]] = {}
        """By environment: flags, and whether client keys see them, or saw them before."""
        self.segments: dict[str, Members | None] = {}
        """None: the segment as a whole."""
        self.settings: dict[str, set[str]] = {}
        """By environment: `EVALUATORS`, `METADATA`."""
        self._noted = 0

    def flag(
        self, environment: str, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        """A flag's document is put in the place of another; most edits change it in one environment only."""
        if same(before, after):
            return
        visible = any(document is not None and document.get("client_visible") for document in (before, after))
        noted = self.flags.setdefault(environment, {})
        noted[key] = noted.get(key, False) or visible
        self._count(1)

    def members(self, key: str, touched: Iterable[str], before: AbstractSet[str]) -> None:
        """Members of a segment may come or go; ``before`` is who belongs to it now."""
        noted = self.segments.setdefault(key, {})
        if noted is not None:
            for member in touched:
                noted.setdefault(member, member in before)
                self._count(1)

    def segment(self, key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        """A segment has been read as a whole: it is told by its members if it has the same rules."""
        if before is None or after is None or not same(before["rules"], after["rules"]):
            self.segments[key] = None
            self._count(1)
            return
        self.members(key, before["members"] ^ after["members"], before["members"])

    def setting(self, environment: str, name: str, before: object, after: object) -> None:
        """What an environment has beside its flags is replaced, or read again."""
        if not same(before, after):
            self.settings.setdefault(environment, set()).add(name)

    def everything(self) -> None:
        """A whole state has come."""
        self.whole = True

    def _count(self, more: int) -> None:
        self._noted += more
        if self._noted > NOTED_MAX:
            self.whole = True
            self.flags.clear()
            self.segments.clear()
            self._noted = 0


def same(before: object, after: object) -> bool:
    """Whether two documents say the same; by their text too, since in Python 1 equals True and 1.0."""
    return before is after or (before == after and repr(before) == repr(after))
