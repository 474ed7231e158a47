"""What a rule is that is not followed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """One rule of section 12 of the design, or a part of it, and the patch under which nobody follows it."""

    rule: int
    name: str
    """The switch in the executable model of the design; for a part that the model does not switch, one of its own."""
    apply: Callable[[], AbstractContextManager[object]]
    """Inside, every engine of this process ignores the rule."""
    profiles: frozenset[str] = frozenset()
    """Of plans (see `vexil.chaos.run.swarm`) in which it matters: the mutation gate begins with seeds of these."""

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the catalogue."""
        return (self.rule, self.name)

    def __str__(self) -> str:
        return f"{self.rule}-{self.name}"
