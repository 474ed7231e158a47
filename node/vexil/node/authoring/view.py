"""What a decision may look at: one project's state, whole, at one moment.

The engine's project is one. It does not change while a decision is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from vexil.crdt.conflicts import ConflictRecord
from vexil.crdt.replica import Replica

NewId = Callable[[], str]
"""Makes an id for a rule that came without one: unpredictable, and a name (``[A-Za-z0-9][A-Za-z0-9._-]*``)."""


class View(Protocol):
    """One project as an author's node has it now."""

    @property
    def environments(self) -> Sequence[str]:
        """Names of the project's environments."""

    @property
    def replica(self) -> Replica:
        """The cells."""

    def flag_keys(self) -> Sequence[str]:
        """Keys of the flags that exist."""

    def requirers(self, key: str) -> Collection[str]:
        """Keys of the flags that have a prerequisite on the flag ``key``."""

    def conflicts(self) -> Sequence[ConflictRecord]:
        """Every race and defect in the project."""
