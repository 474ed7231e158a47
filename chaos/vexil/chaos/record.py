"""What a checker knows of a run, told by events and never read from the product's own summaries.

Every change that any node applied, who wrote it and what its author's node had at that moment; and every request of
every client with what it was told. Invariants are questions to this record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from vexil.crdt.change import Change, Dot

VIOLATIONS_KEPT_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant of DESIGN.md section 9 that did not hold, at a virtual time."""

    invariant: str
    detail: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at_s:.3f} s: {self.detail}"


class Outcome(Enum):
    """What a client knows of its write."""

    UNKNOWN = auto()
    ACKNOWLEDGED = auto()
    NOTHING_TO_WRITE = auto()
    REFUSED = auto()
    """Definitely not written."""


@dataclass(slots=True)
class Write:
    """One write of one client, over all of its tries; the key tells its changes from those of others."""

    key: str
    what: str
    outcome: Outcome = Outcome.UNKNOWN
    dot: Dot | None = None
    """As soon as any answer has named it."""
    slot: str = ""
    """Who was asked last."""
    durability: str = ""
    """What the acknowledgement claimed."""


@dataclass(slots=True)
class Record:
    """All that happened in one run."""

    now_s: Callable[[], float]
    changes: dict[str, dict[Dot, Change]] = field(default_factory=dict)
    """Per project every change that any node has applied."""
    authored_on: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    """Project and idempotency key to the vector of the node, when it decided on the write."""
    writes: list[Write] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    on_violation: Callable[[], None] = lambda: None

    def violate(self, invariant: str, detail: str) -> None:
        """Something that must hold does not."""
        if len(self.violations) < VIOLATIONS_KEPT_MAX:
            self.violations.append(Violation(invariant, detail, self.now_s()))
        self.on_violation()
