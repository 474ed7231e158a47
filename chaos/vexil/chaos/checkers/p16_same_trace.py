"""P16: the same plan is the same history: two runs of it, in whatever process, write the same trace.

It compares two runs, so it is nobody who watches one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

INVARIANT: Final = "P16"
CLAIM: Final = "the same plan gives the same trace, in every process"


class Traced(Protocol):
    """What of a report is compared."""

    @property
    def trace_hash(self) -> str:
        """The hash of everything that happened."""

    @property
    def trace(self) -> Sequence[str]:
        """What happened, line by line, if it was kept."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a run that another process has made: at least its hash."""

    trace_hash: str
    trace: Sequence[str] = ()


def difference(left: Traced, right: Traced) -> str | None:
    """Where two runs of one plan part; None if they are one history. Names the line if both have kept theirs."""
    if left.trace_hash == right.trace_hash:
        return None
    for number, (ours, theirs) in enumerate(zip(left.trace, right.trace, strict=False), 1):
        if ours != theirs:
            return f"{INVARIANT}: line {number} of the traces is {ours.strip()!r}, and {theirs.strip()!r}"
    return f"{INVARIANT}: the traces end with {left.trace_hash} and {right.trace_hash}"
