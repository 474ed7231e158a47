"""Which faults struck in the midst of which protocol steps, and how often: a table.

What was never struck is told too: a step that no fault has met is a step of which nothing is proven.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vexil.chaos.world.protocol_steps import STEPS


@dataclass(frozen=True, slots=True)
class Coverage:
    """The table, for people and for programs."""

    faults: Sequence[str]
    """All kinds, by name."""
    steps: Sequence[str]
    """All steps, in the order of `vexil.chaos.world.protocol_steps.STEPS`, and what else there is."""
    struck: Mapping[tuple[str, str], int]
    fired: Mapping[str, int]

    @property
    def headings(self) -> list[str]:
        """Of `rows`: kinds of faults are columns, and too many for their names."""
        return ["step", *(f"{number}" for number in range(1, len(self.faults) + 1))]

    @property
    def rows(self) -> list[list[object]]:
        """One a step; nothing where a fault has not met it. The last has how often each fault struck at all."""
        rows: list[list[object]] = [
            [step, *(self.struck.get((fault, step)) or "." for fault in self.faults)] for step in self.steps
        ]
        return [*rows, ["(struck in all)", *(self.fired.get(fault, 0) for fault in self.faults)]]

    @property
    def legend(self) -> list[str]:
        """What the numbers of the columns mean."""
        return [f"{number} {fault}" for number, fault in enumerate(self.faults, 1)]

    @property
    def met(self) -> int:
        """Cells that are not empty."""
        return sum(times > 0 for times in self.struck.values())

    @property
    def never(self) -> list[str]:
        """Steps that no fault has met."""
        met = {step for (_, step), times in self.struck.items() if times}
        return [step for step in self.steps if step not in met]

    def plain(self) -> dict[str, dict[str, int]]:
        """By fault and step."""
        table: dict[str, dict[str, int]] = {fault: {} for fault in self.faults}
        for (fault, step), times in sorted(self.struck.items()):
            table[fault][step] = times
        return table


def coverage(struck: Counter[tuple[str, str]], fired: Counter[str], kinds: Sequence[str]) -> Coverage:
    """The table of what ``struck``, with a column for each of ``kinds`` and for what else there is."""
    faults = sorted({*kinds, *fired, *(fault for fault, _ in struck)})
    others = sorted({step for _, step in struck} - {*STEPS})
    return Coverage(faults, (*STEPS, *others), dict(struck), dict(fired))
