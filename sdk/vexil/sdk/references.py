"""``{"$ref": "name"}``: rules that several flags share, put in where they are named.

flagd replaces the text ``{"$ref": "name"}`` wherever it stands in a flag. Here the same is done on the structure, so
that white space does not matter and an evaluator may name another one. An expanded evaluator is one object however
often it is named, and becomes one function: time is bounded by the budget of evaluation, memory by the size of what was
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vexil.sdk.codes import PARSE_ERROR
from vexil.sdk.errors import RuleError
from vexil.sdk.limits import LOGIC_DEPTH_MAX, NESTING_MAX

REFERENCE: Final = "$ref"


def reference_of(value: object) -> str | None:
    """The name in ``{"$ref": name}``; None for anything else."""
    if isinstance(value, dict) and len(value) == 1:
        name = value.get(REFERENCE)
        if isinstance(name, str):
            return name
    return None


def depth_of(value: object, *, levels_max: int) -> int:
    """How many levels ``value`` has, or ``levels_max + 1`` if it has more.

    An object is a level; an array is one unless it is directly the value of a member, so that an operation
    ``{"op": [arguments]}`` counts once.
    """
    deepest = 0
    pending: list[tuple[object, int, bool]] = [(value, 0, False)]
    while pending:
        item, level, in_object = pending.pop()
        if isinstance(item, dict):
            level += 1
            pending.extend((member, level, True) for member in item.values())
        elif isinstance(item, list):
            level += 0 if in_object else 1
            pending.extend((member, level, False) for member in item)
        if level > levels_max:
            return levels_max + 1
        deepest = max(deepest, level)
    return deepest


class References:
    """Puts evaluators in; keeps each that it has expanded. May be used by several threads.

    ``evaluators`` must not change while this is used.
    """

    __slots__ = ("_evaluators", "_expanded", "_shared")

    def __init__(self, evaluators: Mapping[str, object]) -> None:
        self._evaluators = evaluators
        self._expanded: dict[str, tuple[object, int]] = {}
        """Expanded evaluators and the levels below each: what is named twice is not walked twice."""
        self._shared: set[int] = set()

    def expand(self, rule: object) -> object:
        """``rule`` with every known reference put in; an unknown one stays, and fails when it is reached.

        Raises ``RuleError`` (PARSE_ERROR) for what is too deep and for evaluators that name each other in a circle.
        """
        _check_depth(rule, "the rule")
        return _Expansion(self).put_in(rule, 0)

    def is_shared(self, value: object) -> bool:
        """Whether a part of an expanded rule is an evaluator, the same object wherever that is named."""
        return id(value) in self._shared

    def has(self, name: str) -> bool:
        """Whether there is an evaluator of that name."""
        return name in self._evaluators

    def written(self, name: str) -> object:
        """An evaluator as it was written."""
        return self._evaluators[name]

    def expanded(self, name: str) -> tuple[object, int] | None:
        """An expanded evaluator and its levels, if it was expanded before."""
        return self._expanded.get(name)

    def keep(self, name: str, value: object, levels: int) -> tuple[object, int]:
        """What `expanded` says from now on: this, unless another thread was faster."""
        kept = self._expanded.setdefault(name, (value, levels))
        if isinstance(kept[0], dict | list):
            self._shared.add(id(kept[0]))
        return kept


class _Expansion:
    """The expansion of one rule."""

    __slots__ = ("_deepest", "_open", "_references")

    def __init__(self, references: References) -> None:
        self._references = references
        self._open: set[str] = set()
        self._deepest = 0

    def put_in(self, value: object, level: int) -> object:
        if not isinstance(value, dict | list):
            return value
        _check_level(level)
        self._deepest = max(self._deepest, level)
        if isinstance(value, list):
            return [self.put_in(item, level + 1) for item in value]
        name = reference_of(value)
        if name is not None and self._references.has(name):
            return self._evaluator(name, level + 1)
        return {member: self.put_in(item, level + 1) for member, item in value.items()}

    def _evaluator(self, name: str, level: int) -> object:
        if name in self._open:
            raise RuleError(PARSE_ERROR, f"evaluator {name!r} refers to itself")
        kept = self._references.expanded(name)
        if kept is None:
            body = self._references.written(name)
            _check_depth(body, f"evaluator {name!r}")
            outer, self._deepest = self._deepest, level
            self._open.add(name)
            expanded = self.put_in(body, level)
            self._open.discard(name)
            kept = self._references.keep(name, expanded, self._deepest - level)
            self._deepest = outer
        value, levels = kept
        _check_level(level + levels)
        self._deepest = max(self._deepest, level + levels)
        return value


def _check_level(level: int) -> None:
    if level > NESTING_MAX:
        raise RuleError(PARSE_ERROR, f"the rule nests deeper than {NESTING_MAX} with its evaluators put in")


def _check_depth(value: object, what: str) -> None:
    if depth_of(value, levels_max=LOGIC_DEPTH_MAX) > LOGIC_DEPTH_MAX:
        raise RuleError(PARSE_ERROR, f"{what} has more than {LOGIC_DEPTH_MAX} levels")
