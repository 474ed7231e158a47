"""A straightforward evaluation, to hold the compiled one against: it walks over the rule each time it is asked.

JsonLogic's and flagd's operators are those of the reference implementation, called where they take their arguments
without a word in the log. Neither fast nor short of recursion; nothing of the compiler or its operators is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from json_logic.builtins import BUILTINS, to_bool  # type: ignore[import-untyped]  # ships no types
from openfeature.contrib.tools.flagd.core.targeting import custom_ops

from vexil.sdk.answers import ABSENT, is_of_type
from vexil.sdk.errors import RuleError
from vexil.sdk.limits import EVALUATION_STEPS_MAX, NESTING_MAX, SEGMENT_NESTING_MAX
from vexil.sdk.model import FlagSet
from vexil.sdk.rules import IN_SEGMENT, SEGMENT, effective_default, has_logic, usable_rules

CHARACTERS_PER_STEP: Final = 64
BITS_PER_STEP: Final = 64
Operator = Callable[..., Any]

SEM_VER_OPERATORS: Final = frozenset({"=", "!=", "<", "<=", ">", ">=", "^", "~"})


def truthy(value: object) -> bool:
    """Whether ``value`` holds, as JsonLogic has it: null, false, 0, NaN, ``""`` and ``[]`` do not."""
    return bool(to_bool(value))


def fractional(flag_key: str, bucket_by: object, entries: Sequence[object], *, targeting_key: object) -> Any:
    """The variant that ``bucket_by`` falls to; None where flagd answers null.

    ``bucket_by`` is ``SHORTHAND`` for ``[flag key, targeting key]``; never an array. ``entries`` are
    ``[variant, weight?]`` with whole weights.
    """
    if not _is_distribution(entries):
        return None
    if bucket_by is SHORTHAND:
        if not isinstance(targeting_key, str) or not targeting_key or not _can_be_hashed(targeting_key):
            return None
        data = {"targetingKey": targeting_key, "$flagd": {"flagKey": flag_key}}
        return custom_ops.fractional(data, *entries)
    if bucket_by is None or not _can_be_hashed(bucket_by):
        return None
    return custom_ops.fractional({}, bucket_by, *entries)


SHORTHAND: Final = object()


def _is_distribution(entries: Sequence[object]) -> bool:
    total = 0
    for entry in entries:
        if not isinstance(entry, list) or not 1 <= len(entry) <= 2:
            return False
        weight = entry[1] if len(entry) == 2 else 1
        if isinstance(weight, bool) or not isinstance(weight, int):
            return False
        total += max(0, weight)
    return 0 < total <= custom_ops.MAX_WEIGHT_SUM


def _can_be_hashed(value: object) -> bool:
    """Whether CBOR takes it: JSON values; text without half a surrogate pair; not nested without end."""
    pending: list[tuple[object, int]] = [(value, 0)]
    while pending:
        item, level = pending.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                return False
        elif isinstance(item, dict | list):
            if level == NESTING_MAX:
                return False
            members = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            pending.extend((member, level + 1) for member in members)
        elif not (item is None or isinstance(item, bool | int | float)):
            return False
    return True


def _sem_ver(_data: object, *arguments: Any) -> Any:
    if len(arguments) != 3 or not isinstance(arguments[1], str) or arguments[1] not in SEM_VER_OPERATORS:
        return None
    try:
        custom_ops.normalize_version(arguments[0])
        custom_ops.normalize_version(arguments[2])
    except ValueError:
        return None
    return custom_ops.sem_ver({}, *arguments)


def _starts_with(_data: object, *arguments: Any) -> Any:
    return custom_ops.starts_with({}, *arguments) if _two_texts(arguments) else None


def _ends_with(_data: object, *arguments: Any) -> Any:
    return custom_ops.ends_with({}, *arguments) if _two_texts(arguments) else None


def _two_texts(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 2 and all(isinstance(argument, str) for argument in arguments)


def _log(_data: object, value: object = None, *_ignored: object) -> object:
    return value


OPERATORS: Final[dict[str, Operator]] = {
    **BUILTINS,
    "log": _log,
    "sem_ver": _sem_ver,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
}


class BudgetSpent(RuleError):
    """The evaluation has used up its steps."""

    def __init__(self) -> None:
        super().__init__("GENERAL", f"the evaluation took more than {EVALUATION_STEPS_MAX} steps")


class Walk:
    """One evaluation's walk over rules: its budget, and whom it is about.

    ``apply`` may be called for one flag after another (a flag and its prerequisites); the budget is one for all.
    """

    __slots__ = ("_flag_key", "_root", "_segment_nesting", "_segments", "_steps_left")

    def __init__(self, segments: FlagSet) -> None:
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
            raise RuleError("PARSE_ERROR", f"unknown operator {name!r}")
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
            raise RuleError("PARSE_ERROR", f"more than {SEGMENT_NESTING_MAX} segments ask for each other")
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


Answer = tuple[Any, str, str] | str
"""Value, variant and reason, or the error code."""


def walked(flag_set: FlagSet, key: str, context: Mapping[str, Any], *, now_s: float) -> Answer:
    """The answer of flag ``key``; prerequisites by recursion."""
    try:
        return _Answers(flag_set, context, now_s).answer(key)
    except BudgetSpent:
        return "GENERAL"


class _Answers:
    def __init__(self, flag_set: FlagSet, context: Mapping[str, Any], now_s: float) -> None:
        self._flag_set = flag_set
        self._data = {**context, "targetingKey": context.get("targetingKey")}
        self._timestamp = int(now_s)
        self._walk = Walk(flag_set)

    def answer(self, key: str) -> Answer:
        document: Any = self._flag_set.flags.get(key)
        if document is None:
            return "FLAG_NOT_FOUND"
        try:
            off = document["enabled"] is not True or "broken" in document or key in self._flag_set.cyclic
            if off or not all(self._met(need) for need in document["prerequisites"]):
                return _served(document, document["off_variant"], "DISABLED")
            return self._on(key, document)
        except BudgetSpent:
            raise
        except RuleError as error:
            return error.code
        except Exception:  # noqa: BLE001 - an operator's complaint
            return "GENERAL"

    def _met(self, need: Any) -> bool:
        found = self.answer(need["flag"])
        return not isinstance(found, str) and found[1] != "" and found[1] == need["variant"]

    def _on(self, key: str, document: Any) -> Answer:
        expand = self._flag_set.references.expand
        if document["targeting"]:
            expanded = expand(document["targeting"])
            if not isinstance(expanded, dict):
                return "PARSE_ERROR"
            return self._named(document, self._run(key, expanded))
        rules = [(expand(rule.condition), expand(rule.outcome)) for rule in usable_rules(document)]
        for condition, outcome in rules:
            if truthy(self._run(key, condition)):
                return self._named(document, self._run(key, outcome))
        static = not has_logic(document) and not document["prerequisites"]
        return _default(document, "STATIC" if static else "DEFAULT")

    def _run(self, key: str, logic: object) -> Any:
        data = {**self._data, "$flagd": {"flagKey": key, "timestamp": self._timestamp}}
        return self._walk.run(logic, key, data)

    def _named(self, document: Any, result: Any) -> Answer:
        if result is None:
            return _default(document, "DEFAULT")
        if isinstance(result, bool):
            result = "true" if result else "false"
        elif isinstance(result, int | float):
            result = str(result)
        if not isinstance(result, str) or result not in document["variants"]:
            return "GENERAL"
        return _served(document, result, "TARGETING_MATCH")


def _default(document: Any, reason: str) -> Answer:
    default = effective_default(document)
    return (ABSENT, "", "DEFAULT") if default is None else _served(document, default, reason)


def _served(document: Any, variant: str | None, reason: str) -> Answer:
    if variant is None or variant not in document["variants"]:
        return ABSENT, "", reason
    value = document["variants"][variant]
    assert is_of_type(document["type"], value)
    return value, variant, reason
