"""The walk over a JsonLogic rule, with a budget.

Operators are functions of their evaluated arguments (``operators``); here is what needs more than that: operators
that do not evaluate all of their arguments, ``fractional``, whose form decides, and segments, which need the flag set.

An evaluation has a budget of steps, because a rule may loop within loops over whatever its caller sends, and may
double a value in each round. A step is one operation, one item of a list, or 64 characters, members or bits of an
argument, so that neither time nor memory grows beyond it.

Whether ``fractional`` is written as its shorthand is decided by how the *rule* is written. The reference
implementation looks at the evaluated first argument, so that a caller whose attribute is an array would put an entry
into the distribution and choose his variant; here an array for a bucket gives null, and so does an entry that is
not written as an array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Final, Protocol

from vexil.sdk.codes import GENERAL, PARSE_ERROR
from vexil.sdk.errors import RuleError
from vexil.sdk.limits import EVALUATION_STEPS_MAX, SEGMENT_NESTING_MAX
from vexil.sdk.operators import OPERATORS, SHORTHAND, fractional, truthy

SEGMENT: Final = "segment"
IN_SEGMENT: Final = "in_segment"
CHARACTERS_PER_STEP: Final = 64
BITS_PER_STEP: Final = 64


class BudgetSpent(RuleError):
    """The evaluation has used up its steps."""

    def __init__(self) -> None:
        super().__init__(GENERAL, f"the evaluation took more than {EVALUATION_STEPS_MAX} steps")


class Segments(Protocol):
    """What the walk asks of a flag set."""

    def segment_members(self, key: str) -> AbstractSet[str]:
        """Who is listed in a segment; nobody if there is none."""

    def segment_logic(self, key: str) -> tuple[object, ...]:
        """The expanded rules of a segment; none if it is on a cycle. Raises ``RuleError``."""


class Walk:
    """One evaluation's walk over rules: its budget, and whom it is about.

    ``apply`` may be called for one flag after another (a flag and its prerequisites); the budget is one for all.
    """

    __slots__ = ("_flag_key", "_root", "_segment_nesting", "_segments", "_steps_left")

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._steps_left = EVALUATION_STEPS_MAX
        self._segment_nesting = 0
        self._flag_key = ""
        self._root: dict[str, Any] = {}

    def run(self, rule: object, flag_key: str, data: dict[str, Any]) -> Any:
        """The value of an expanded ``rule`` of flag ``flag_key``. ``data`` is the context with flagd's members.

        Raises ``RuleError``, and whatever an operator raises: division by zero, numbers out of range.
        """
        self._flag_key = flag_key
        self._root = data
        return self._apply(rule, data)

    def spend(self, steps: int) -> None:
        """Take ``steps`` from the budget; raises ``BudgetSpent``."""
        self._steps_left -= steps
        if self._steps_left < 0:
            raise BudgetSpent

    def _apply(self, rule: object, data: Any) -> Any:
        if isinstance(rule, list):
            self.spend(len(rule))
            return [self._apply(item, data) for item in rule]
        if not isinstance(rule, dict) or len(rule) != 1:
            return rule
        self.spend(1)
        [(name, arguments)] = rule.items()
        if not isinstance(arguments, list):
            arguments = [arguments]
        form = self.FORMS.get(name)
        if form is not None:
            return form(self, arguments, data)
        operator = OPERATORS.get(name)
        if operator is None:
            raise RuleError(PARSE_ERROR, f"unknown operator {name!r}")
        values = [self._apply(argument, data) for argument in arguments]
        self._weigh(values)
        return operator(data, *values)

    def _weigh(self, values: list[Any]) -> None:
        pending = list(values)
        while pending:
            value = pending.pop()
            if isinstance(value, str):
                self.spend(len(value) // CHARACTERS_PER_STEP)
            elif isinstance(value, list | tuple):
                self.spend(len(value))
                pending.extend(value)
            elif isinstance(value, dict):
                self.spend(len(value))
                pending.extend(value.values())
            elif isinstance(value, int):
                self.spend(value.bit_length() // BITS_PER_STEP)

    # -- operators that decide which of their arguments are evaluated, and with which data

    def _if(self, arguments: list[Any], data: Any) -> Any:
        for position in range(0, len(arguments) - 1, 2):
            if truthy(self._apply(arguments[position], data)):
                return self._apply(arguments[position + 1], data)
        return self._apply(arguments[-1], data) if len(arguments) % 2 else None

    def _and(self, arguments: list[Any], data: Any) -> Any:
        value = None
        for argument in arguments:
            value = self._apply(argument, data)
            if not truthy(value):
                break
        return value

    def _or(self, arguments: list[Any], data: Any) -> Any:
        value = None
        for argument in arguments:
            value = self._apply(argument, data)
            if truthy(value):
                break
        return value

    def _items(self, arguments: list[Any], data: Any) -> list[Any] | None:
        items = self._apply(arguments[0], data) if arguments else None
        if not isinstance(items, list):
            return None
        self.spend(len(items))
        return items

    def _map(self, arguments: list[Any], data: Any) -> Any:
        body = arguments[1] if len(arguments) > 1 else None
        return [self._apply(body, item) for item in self._items(arguments, data) or ()]

    def _filter(self, arguments: list[Any], data: Any) -> Any:
        if len(arguments) < 2:
            return []
        return [
            item for item in self._items(arguments, data) or () if truthy(self._apply(arguments[1], item))
        ]

    def _reduce(self, arguments: list[Any], data: Any) -> Any:
        # Unlike the reference implementation, which takes the initial value as it is written and so gives NaN for
        # one that is computed.
        body = arguments[1] if len(arguments) > 1 else None
        value = self._apply(arguments[2], data) if len(arguments) > 2 else None
        for item in self._items(arguments, data) or ():
            value = self._apply(body, {"current": item, "accumulator": value})
        return value

    def _all(self, arguments: list[Any], data: Any) -> bool:
        if len(arguments) < 2:
            return False
        items = self._items(arguments, data)
        # JsonLogic: not all of nothing.
        return bool(items) and all(truthy(self._apply(arguments[1], item)) for item in items or ())

    def _some(self, arguments: list[Any], data: Any) -> bool:
        if len(arguments) < 2:
            return False
        return any(truthy(self._apply(arguments[1], item)) for item in self._items(arguments, data) or ())

    def _none(self, arguments: list[Any], data: Any) -> bool:
        return not self._some(arguments, data)

    # -- flagd's fractional

    def _fractional(self, arguments: list[Any], data: Any) -> Any:
        if not arguments:
            return None
        bucket_by: object = SHORTHAND
        entries = arguments
        if not isinstance(arguments[0], list):
            bucket_by = self._apply(arguments[0], data)
            entries = arguments[1:]
            if isinstance(bucket_by, list | tuple):
                return None
            self._weigh([bucket_by])
        if not all(isinstance(entry, list) for entry in entries):
            return None
        return fractional(
            self._flag_key,
            bucket_by,
            [self._apply(entry, data) for entry in entries],
            targeting_key=data.get("targetingKey") if isinstance(data, Mapping) else None,
        )

    # -- segments, always asked about the whole context

    def _segment(self, arguments: list[Any], data: Any) -> bool:
        return bool(arguments) and self._holds(self._root.get("targetingKey"), arguments[0])

    def _in_segment(self, arguments: list[Any], data: Any) -> bool:
        return len(arguments) > 1 and self._holds(self._apply(arguments[0], data), arguments[1])

    def _holds(self, member: object, key: object) -> bool:
        if not isinstance(key, str):
            return False
        if isinstance(member, str) and member in self._segments.segment_members(key):
            return True
        rules = self._segments.segment_logic(key)
        if not rules:
            return False
        if self._segment_nesting == SEGMENT_NESTING_MAX:
            raise RuleError(PARSE_ERROR, f"more than {SEGMENT_NESTING_MAX} segments ask for each other")
        self._segment_nesting += 1
        try:
            return any(truthy(self._apply(rule, self._root)) for rule in rules)
        finally:
            self._segment_nesting -= 1

    FORMS: ClassVar[dict[str, Callable[[Walk, list[Any], Any], Any]]] = {
        "if": _if,
        "?:": _if,
        "and": _and,
        "or": _or,
        "map": _map,
        "filter": _filter,
        "reduce": _reduce,
        "all": _all,
        "some": _some,
        "none": _none,
        "fractional": _fractional,
        SEGMENT: _segment,
        IN_SEGMENT: _in_segment,
    }


KNOWN_OPERATORS: Final = frozenset(OPERATORS) | frozenset(Walk.FORMS)
"""Every operator that a rule may name."""
