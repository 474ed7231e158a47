"""Why a flag gives what it gives: the way of one evaluation, step by step.

The answer is evaluation's own. The one idea: the way is walked afterwards with the same pieces, the compiled condition
of each rule one by one, and with more of a budget, so that whatever evaluation could answer can be retraced; where
evaluation gave up, the way ends in the error that it gave.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from vexil.sdk.answers import Evaluation, FlagAnswers, is_off
from vexil.sdk.buckets import draw
from vexil.sdk.budget import Budget, BudgetSpent
from vexil.sdk.codes import DISABLED
from vexil.sdk.coercion import truthy
from vexil.sdk.compiler.choices import distribution_of
from vexil.sdk.compiler.gates import needs_of
from vexil.sdk.compiler.runtime import draw_for
from vexil.sdk.compiler.writer import Writer, operation_of
from vexil.sdk.evaluation import evaluate
from vexil.sdk.limits import EVALUATION_STEPS_MAX
from vexil.sdk.model import FlagSet
from vexil.sdk.rules import effective_default, has_logic, logic_of, usable_rules

Step = dict[str, Any]
Part = tuple[str, str]

ENABLED: Final = "enabled"
PREREQUISITE: Final = "prerequisite"
RULE: Final = "rule"
ORDER: Final = "order"
TARGETING: Final = "targeting"
DEFAULT: Final = "default"
OFF_VARIANT: Final = "off_variant"
VARIANT: Final = "variant"
ERROR: Final = "error"
FRACTIONAL: Final = "fractional"
STEPS_MAX: Final = 2 * EVALUATION_STEPS_MAX
"""The budget of the prerequisites, and that of the rules: what evaluation does once may be done twice here."""
SHOWN_CHARACTERS_MAX: Final = 256
CONDITIONALS: Final = frozenset({"if", "?:"})


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer, and how it came about.

    ``trace`` has a step for everything that was looked at, in order; what each has beside ``step``:

    - ``enabled``: ``enabled``; ``broken`` or ``cycle`` if that puts the flag on the off path whatever else it says
    - ``prerequisite``: ``flag``, the ``variant`` that it must give, what it ``gave`` (null: none), ``met``; ``error``.
      Where telling them one by one would take too long, ``rest`` is how many the last step stands for
    - ``rule``: ``id``, ``if``, ``held``; if it held ``serve`` or ``split``, and what it ``gave``
    - ``targeting``: the same without an id, one for each branch of a conditional
    - ``default``, ``off_variant``: the ``variant``, null for the default of the code
    - ``error``: ``code`` and ``details``; always the last

    ``split``: ``by`` (the bucket's value), ``bucket`` (null for who cannot be put into one), ``total``, ``entries``
    (``variant``, ``weight``, and the buckets ``from`` … ``to``, the latter not included), and the number of the
    ``entry`` that it fell to. What was worked out is shown if it is a number, a boolean or a text, and of a text the
    first ``SHOWN_CHARACTERS_MAX`` characters.

    ``decided`` are the parts of the flag that made the answer what it is, as ``(part, name)``.
    """

    evaluation: Evaluation
    trace: tuple[Step, ...]
    decided: tuple[Part, ...]


def explain(flag_set: FlagSet, key: str, context: Mapping[str, Any] | None, *, now_s: float) -> Explanation:
    """The answer of flag ``key`` for ``context`` as `evaluate` gives it, and its way. Never raises.

    It takes at most six budgets of an evaluation.
    """
    evaluation = evaluate(flag_set, key, context, now_s=now_s)
    walk = _Walk(flag_set, evaluation, dict(context) if isinstance(context, Mapping) else {}, now_s)
    # What an operator or an odd document raises is in the answer, and told from there.
    with suppress(Exception):
        walk.go()
    if evaluation.error_code is not None:
        if walk.steps and walk.steps[-1]["step"] in {DEFAULT, OFF_VARIANT}:
            walk.steps.pop()  # it went on where evaluation had no more steps
        walk.steps.append({"step": ERROR, "code": evaluation.error_code, "details": evaluation.error_details})
    return Explanation(evaluation, tuple(walk.steps), tuple(dict.fromkeys(walk.decided)))


class _Walk:
    """One way through a flag; it ends early with what is raised on it."""

    def __init__(
        self, flag_set: FlagSet, evaluation: Evaluation, context: dict[str, Any], now_s: float
    ) -> None:
        self.steps: list[Step] = []
        self.decided: list[Part] = []
        self._flag_set = flag_set
        self._evaluation = evaluation
        self._key = evaluation.key
        self._context = context
        self._now_s = now_s
        self._steps_max = STEPS_MAX if evaluation.error_code is None else EVALUATION_STEPS_MAX
        self._budget = Budget(self._steps_max)
        self._writer = Writer(flag_set.compiler, flag_key=evaluation.key)

    def _now(self) -> float:
        return self._now_s

    def go(self) -> None:
        document = self._flag_set.flags.get(self._key)
        if not isinstance(document, Mapping):
            return
        if self._is_off(document) or not self._prerequisites_met(document):
            self._off(document)
            return
        if not has_logic(document):
            self._default(document)
            return
        logic_of(document, self._flag_set.references)  # what cannot be run at all
        if document.get(TARGETING):
            self._targeting(document)
        else:
            self._rules(document)

    # -- before the rules

    def _is_off(self, document: Mapping[str, Any]) -> bool:
        self.decided.append((ENABLED, ""))
        step: Step = {"step": ENABLED, "enabled": document.get("enabled") is True}
        self.steps.append(step)
        if "broken" in document:
            step["broken"] = document["broken"]
        if is_off(document):
            return True
        if needs_of(document) and self._key in self._flag_set.cyclic:
            step["cycle"] = True
            self.decided += [(PREREQUISITE, flag) for flag in self._flag_set.prerequisites(self._key)]
            return True
        return False

    def _prerequisites_met(self, document: Mapping[str, Any]) -> bool:
        budget = Budget(self._steps_max, shared=True)
        needs = needs_of(document)
        for told, (flag, variant) in enumerate(needs):
            step: Step = {"step": PREREQUISITE, "flag": flag, "variant": variant, "gave": None, "met": False}
            self.steps.append(step)
            if flag is None:
                return False
            try:
                budget.spend(1)
                found = self._flag_set.functions[flag](self._context, self._now, budget)
            except BudgetSpent:
                # Evaluation asks what several of them need only once: it has the answer, and nobody else needs to.
                step |= {"flag": None, "variant": None, "rest": len(needs) - told}
                step["met"] = self._evaluation.reason != DISABLED
                return bool(step["met"])
            step["gave"] = found.variant or None
            step["met"] = found.variant != "" and found.variant == variant
            if found.error_code is not None:
                step["error"] = {"code": found.error_code, "details": found.error_details}
            if not step["met"]:
                self.decided.append((PREREQUISITE, flag))
                return False
        return True

    # -- the rules

    def _rules(self, document: Mapping[str, Any]) -> None:
        expand = self._flag_set.references.expand
        written = document["rules"]
        for body in written if isinstance(written, list | tuple) else ():
            usable = usable_rules({**document, "rules": [body]})
            if not usable:
                continue
            rule = usable[0]
            rule_id = body.get("id")
            step: Step = {"step": RULE, "id": rule_id, "if": rule.condition}
            if self._holds(step, expand(rule.condition)):
                self.decided += [
                    (RULE, str(rule_id)),
                    *([(ORDER, "")] if len(written) > 1 else []),
                ]
                self._give(document, step, expand(rule.outcome))
                return
        self._default(document)

    def _targeting(self, document: Mapping[str, Any]) -> None:
        self.decided.append((TARGETING, ""))
        rule: Any = self._flag_set.references.expand(document[TARGETING])
        if len(rule) == 1 and CONDITIONALS.issuperset(rule):
            _, arguments = operation_of(rule)
            for at in range(0, len(arguments) - 1, 2):
                step: Step = {"step": TARGETING, "if": arguments[at]}
                if self._holds(step, arguments[at]):
                    self._give(document, step, arguments[at + 1])
                    return
            rule = arguments[-1] if len(arguments) % 2 else None
        step = {"step": TARGETING, "if": True, "held": True}
        self.steps.append(step)
        self._give(document, step, rule)

    def _holds(self, step: Step, condition: object) -> bool:
        self.steps.append(step)
        step["held"] = None  # so far; it stays so if this raises
        step["held"] = truthy(self._run(condition))
        return bool(step["held"])

    def _give(self, document: Mapping[str, Any], step: Step, outcome: object) -> None:
        if isinstance(outcome, str):
            step["serve"] = outcome
        elif isinstance(outcome, dict) and outcome.keys() == {FRACTIONAL}:
            split = self._split(outcome)
            if split is not None:
                step["split"] = split
        result = self._run(outcome)
        step["gave"] = _shown(result)
        if result is None:
            self._default(document)
            return
        given = FlagAnswers(self._key, document, {}).give(result)
        if given.variant:
            self.decided.append((VARIANT, given.variant))

    def _split(self, outcome: dict[str, Any]) -> Step | None:
        """How a split that is written out was drawn; None for one with weights or variants that are computed."""
        generation = self._flag_set.compiler.generation
        _, arguments = operation_of(outcome)
        shorthand = bool(arguments) and isinstance(arguments[0], list)
        entries = arguments if shorthand else arguments[1:]
        distribution = distribution_of(entries)
        if generation is None or distribution is None:
            return None
        weights = [max(0, entry[1]) if len(entry) == 2 else 1 for entry in entries]
        total = sum(weights)
        if shorthand:
            by = self._context.get("targetingKey")
            drawn = draw_for(generation, self._key, by)
        else:
            budget = Budget()
            by = self._run(arguments[0], budget)
            drawn = draw(budget, generation, by)
        split: Step = {"by": _shown(by), "bucket": None, "total": total, "entries": [], "entry": None}
        start = 0
        for entry, weight in zip(entries, weights, strict=True):
            split["entries"].append(
                {"variant": entry[0], "weight": weight, "from": start, "to": start + weight}
            )
            start += weight
        if drawn is not None:
            split["bucket"] = drawn * total >> 32
            split["entry"] = bisect_right(distribution[0], drawn)
        return split

    def _run(self, rule: object, budget: Budget | None = None) -> Any:
        unit = self._flag_set.compiler.part(rule, self._writer)
        return unit.function(
            self._flag_set, self._context, self._now, budget or self._budget, self._key, None
        )

    # -- after the rules

    def _default(self, document: Mapping[str, Any]) -> None:
        variant = effective_default(document)
        self.steps.append({"step": DEFAULT, "variant": variant})
        self.decided.append((DEFAULT, ""))
        if isinstance(variant, str):  # an odd document may name anything
            self.decided.append((VARIANT, variant))
            if variant != document.get("default"):
                self.decided.append((OFF_VARIANT, ""))

    def _off(self, document: Mapping[str, Any]) -> None:
        variant = FlagAnswers(self._key, document, {}).off().variant or None
        self.steps.append({"step": OFF_VARIANT, "variant": variant})
        self.decided.append((OFF_VARIANT, ""))
        if variant is not None:
            self.decided.append((VARIANT, variant))


def _shown(value: object) -> object:
    if isinstance(value, str):
        return value[:SHOWN_CHARACTERS_MAX]
    return value if isinstance(value, bool | int | float) else None
