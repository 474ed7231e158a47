"""What a planted bug is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """One bug, its number in the catalogue of known failures, and which invariants may be the first to notice it."""

    number: int
    name: str
    invariants: frozenset[str]
    apply: Callable[[], AbstractContextManager[object]]
    """Inside, every engine of this process has the bug."""
    history: str = ""
    """The scenario that was written for it, because random faults rarely reach it: its file's name; "" if none was."""
    profiles: frozenset[str] = frozenset()
    """Of plans (see `vexil.chaos.run.swarm`) in which it matters: the mutation gate begins with seeds of these."""

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the catalogue."""
        return (self.number, self.name)

    def __str__(self) -> str:
        return f"{self.number}-{self.name.replace(' ', '-')}"
