"""Which incarnations write on a state from before what has been collected, as far as this node knows.

Nobody may apply what they write: it could bring back what was removed. Their author may not meet whoever refuses it, so
everybody tells it on, as with forks; but nobody refuses a change on hearsay, since what was collected elsewhere may
still be here. The author, once it hears of itself, begins anew from an empty state and issues its writes again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

STRANDED_MAX: Final = 1_000
"""The latest ones are told: an author that begins anew is asked for no more, so most of them are over."""


class Stranded:
    """The known stranded incarnations of one node, for as long as its process runs."""

    def __init__(self, on_told: Callable[[int], None]) -> None:
        """``on_told`` is called with every incarnation that is told, each time: it may be our own."""
        self._incarnations: dict[int, None] = {}
        self._on_told = on_told

    @property
    def incarnations(self) -> list[int]:
        """All of them, sorted; at most `STRANDED_MAX`."""
        return sorted(self._incarnations)

    def note(self, incarnation: int) -> None:
        """Somebody, perhaps this node, has refused a change of ``incarnation``."""
        if incarnation not in self._incarnations:
            self._incarnations[incarnation] = None
            if len(self._incarnations) > STRANDED_MAX:
                del self._incarnations[next(iter(self._incarnations))]
        self._on_told(incarnation)
