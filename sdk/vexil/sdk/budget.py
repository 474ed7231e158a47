"""The budget of one evaluation, so that no rule and no context takes for ever or all the memory.

A rule may loop within loops over whatever its caller sends, and may double a value in each round. A step is one
operation in a loop or in a shared evaluator, one item of a list, or 64 characters, members or bits of an argument that
an operator walks over or copies. Straight-line code is bounded by its own length and spends nothing: an operator that
is given a constant looks at no more of the other argument than the constant is long.
"""

from __future__ import annotations

from typing import Final

from vexil.sdk.codes import GENERAL
from vexil.sdk.errors import RuleError
from vexil.sdk.limits import EVALUATION_STEPS_MAX

CHARACTERS_PER_STEP: Final = 64
BITS_PER_STEP: Final = 64


class BudgetSpent(RuleError):
    """The evaluation has used up its steps. ``shared``: so have the flags that asked for this one."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__(GENERAL, f"the evaluation took more than {EVALUATION_STEPS_MAX} steps")
        self.shared = shared


class Budget:
    """What is left of the steps of one evaluation.

    ``shared``: of several flags, one of which is asked on behalf of another; then the first one answers for all.
    """

    __slots__ = ("_left", "segment_nesting", "shared")

    def __init__(self, steps: int | None = None, *, shared: bool = False) -> None:
        self._left = EVALUATION_STEPS_MAX if steps is None else steps
        self.shared = shared
        self.segment_nesting = 0

    def spend(self, steps: int) -> None:
        """Take ``steps``; raises ``BudgetSpent``."""
        self._left -= steps
        if self._left < 0:
            raise BudgetSpent(shared=self.shared)

    def weigh(self, value: object) -> None:
        """Take what it costs to walk over ``value``, whatever it is made of; raises ``BudgetSpent``."""
        if isinstance(value, str):
            if len(value) >= CHARACTERS_PER_STEP:
                self.spend(len(value) // CHARACTERS_PER_STEP)
        elif isinstance(value, int):
            if value.bit_length() >= BITS_PER_STEP:
                self.spend(value.bit_length() // BITS_PER_STEP)
        elif isinstance(value, list | tuple | dict):
            self._weigh_nest(value)

    def _weigh_nest(self, value: object) -> None:
        pending = [value]
        while pending:
            item = pending.pop()
            if isinstance(item, list | tuple):
                self.spend(len(item))
                pending.extend(item)
            elif isinstance(item, dict):
                self.spend(len(item))
                pending.extend(item.values())
            else:
                self.weigh(item)
