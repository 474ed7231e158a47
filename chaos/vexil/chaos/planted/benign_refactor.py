"""What a refactor is that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Benign:
    """One refactor: whatever happens under its patch might have happened without it, and is as right."""

    name: str
    apply: Callable[[], AbstractContextManager[object]]
    """Inside, every engine of this process is refactored."""
    trace: Literal["same", "other", "either"] = "other"
    """What a run leaves. The same: not even the moments of things change. Either: only some faults can tell."""

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the catalogue."""
        return (0, self.name)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")
