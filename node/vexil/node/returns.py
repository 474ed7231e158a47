"""What a slot has left behind under its earlier registrations: brought back one after the other, the oldest first.

As a rule there is one such state. There are more if a node must return again before its first return is through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from vexil.node.returning import Returning

_COUNTED: Final = ("changes", "done", "reissued", "parked")


class Returns:
    """Works through all that was left behind. ``run`` of the pipeline must be running, and the node be ready."""

    def __init__(self, returns: Sequence[Returning]) -> None:
        """One for each earlier state, at least one; the oldest is the first."""
        self._returns = returns
        self._current = 0

    def status(self) -> dict[str, Any]:
        """As `Returning.status` of the one under way; its counts are those of all. ``later`` wait behind it."""
        told = [one.status() for one in self._returns]
        return {
            **told[self._current],
            **{name: sum(status[name] for status in told) for name in _COUNTED},
            "finished": all(status["finished"] for status in told),
            "later": len(told) - self._current - 1,
        }

    async def run(self) -> None:
        """Return when all of them are through."""
        for number, one in enumerate(self._returns):
            self._current = number
            await one.run()
