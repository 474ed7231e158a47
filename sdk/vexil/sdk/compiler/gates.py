"""Gates: a flag with prerequisites answers only if each of them gives its variant.

Prerequisites are asked with a stack of our own, because a chain of them may be longer than Python's, and each flag of
a graph of them once. They all answer from one budget: if that is spent, the flag that was asked says so, and does not
take the one that spent it for unmet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from vexil.sdk.answers import Evaluation, FlagAnswers, failed
from vexil.sdk.budget import Budget, BudgetSpent
from vexil.sdk.compiler.compiler import Function
from vexil.sdk.compiler.runtime import Clock, Context

Needs = tuple[tuple[str | None, object], ...]
"""Flags and the variants that they must give; None for an entry that cannot be read, which is never met."""


class Flags(Protocol):
    """What gates ask of a flag set."""

    @property
    def functions(self) -> Mapping[str, Callable[..., Evaluation]]:
        """Every flag's function; that of one that is not there says so."""

    @property
    def cyclic(self) -> AbstractSet[str]:
        """The flags that are on a cycle of prerequisites."""


class Gate:
    """The function of a flag with prerequisites, in one flag set."""

    __slots__ = ("_answers", "_body", "_flags", "_needs", "_off")

    def __init__(self, flags: Flags, answers: FlagAnswers, needs: Needs, body: Function) -> None:
        self._flags = flags
        self._answers = answers
        self._needs = needs
        self._body = body
        self._off = answers.off()

    def __call__(self, context: Context, now: Clock, budget: Budget | None = None) -> Evaluation:
        """As the function of any flag."""
        answers = self._answers
        try:
            if answers.key in self._flags.cyclic:
                return self._off
            return self._answer(context, now, Budget(shared=True) if budget is None else budget)
        except BudgetSpent as error:
            if budget is not None:
                raise
            return failed(answers.key, error.code, error.details, answers.metadata)
        except Exception as error:  # noqa: BLE001 - total: what no check foresaw is an answer too
            return answers.fail(error)

    def _answer(self, context: Context, now: Clock, budget: Budget) -> Evaluation:
        functions = self._flags.functions
        found: dict[str, Evaluation] = {}
        open_gates: list[tuple[Gate, int]] = [(self, 0)]
        while True:
            gate, position = open_gates.pop()
            budget.spend(1)
            answer: Evaluation | None = None
            for at in range(position, len(gate._needs)):  # noqa: SLF001 - another one of its own
                key, variant = gate._needs[at]  # noqa: SLF001
                if key is None:
                    answer = gate._off  # noqa: SLF001
                    break
                given = found.get(key)
                if given is None:
                    function = functions[key]
                    if isinstance(function, Gate) and key not in self._flags.cyclic:
                        open_gates += ((gate, at), (function, 0))
                        break
                    given = found[key] = function(context, now, budget)
                if given.variant == "" or given.variant != variant:  # an error has no variant
                    answer = gate._off  # noqa: SLF001
                    break
            else:
                answer = gate._body(context, now, budget)  # noqa: SLF001
            if answer is None:
                continue
            if not open_gates:
                return answer
            found[gate._answers.key] = answer  # noqa: SLF001


def needs_of(document: Mapping[str, Any]) -> Needs:
    """The prerequisites of a flag; one that is never met for what is no list of them."""
    written = document.get("prerequisites")
    if not written:
        return ()
    if not isinstance(written, list | tuple):
        return ((None, None),)
    needs: list[tuple[str | None, object]] = []
    for entry in written:
        key = entry.get("flag") if isinstance(entry, Mapping) else None
        needs.append((key, entry.get("variant")) if isinstance(key, str) else (None, None))
    return tuple(needs)
