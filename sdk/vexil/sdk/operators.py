"""flagd's operators and those of JsonLogic: functions of arguments that are evaluated already.

They give what flagd's reference implementation gives, in Python as well, so that all readers agree; where that ends in
an error of Python (division by zero, a number out of range) so do they. They write no log: arguments come from callers,
and one caller must not flood the log of the process that evaluates for him; ``log`` gives its argument and no more.

Operators that do not evaluate all of their arguments, ``fractional``, whose form decides, and segments, which need the
flag set, are generated (``compiler``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan, nan
from typing import Any, Final

from vexil.sdk.budget import Budget
from vexil.sdk.coercion import at_most, equals, less, text_within, to_number, to_text, truthy
from vexil.sdk.versions import compare

Operator = Callable[..., Any]
"""Takes the budget, then the arguments; more of them than it knows are passed over."""


# -- variables


def lookup(data: Any, path: Sequence[str], default: Any = None) -> Any:
    """What ``path`` leads to in ``data``, by names and positions; ``default`` for nothing and for null."""
    for step in path:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list | str):
            if step == "length":  # as JavaScript has it, and it ends there
                return len(data)
            try:
                position = int(step)
            except ValueError:
                return default
            if step != str(position) or not 0 <= position < len(data):
                return default
            data = data[position]
        else:
            return default
    return default if data is None else data


def variable(budget: Budget, data: Any, key: Any = None, default: Any = None) -> Any:
    """``var``, with a path that was worked out. Spends what it takes to read the path."""
    if key is None or key == "":
        return data
    if isinstance(key, int | float):
        if isinstance(data, list | str):
            return _item(data, key, default)
        if not isinstance(data, dict):
            return default
        data = data.get(key)
        if data is None:
            return default
    budget.weigh(key)
    return lookup(data, to_text(budget, key).split("."), default)


def _item(data: list[Any] | str, key: float, default: Any) -> Any:
    try:
        position = int(key)
    except ValueError:  # NaN
        return default
    return data[position] if position == key and 0 <= position < len(data) else default


def missing(budget: Budget, data: Any, *keys: Any) -> list[Any]:
    """``missing``: which of ``keys``, or of the first one's items, lead to nothing."""
    asked: Sequence[Any] = keys[0] if keys and isinstance(keys[0], list) else keys
    budget.spend(len(asked))
    found = []
    for key in asked:
        value = variable(budget, data, key)
        if value is None or value == "":
            found.append(key)
    return found


def missing_some(
    budget: Budget, data: Any, needed: Any = 0, keys: Any = None, *_ignored: object
) -> list[Any]:
    """``missing_some``: what is missing, if fewer than ``needed`` are there."""
    if not isinstance(keys, list):
        return []
    needed = to_number(needed)
    gone = missing(budget, data, keys)
    return [] if len(keys) - len(gone) >= needed else gone


READS_DATA: Final[dict[str, Operator]] = {"var": variable, "missing": missing, "missing_some": missing_some}
"""These take the data in scope after the budget."""


# -- of any arguments


def _equal(_: Budget, first: Any = None, second: Any = None, *_ignored: object) -> bool:
    return equals(first, second)


def _not_equal(_: Budget, first: Any = None, second: Any = None, *_ignored: object) -> bool:
    return not equals(first, second)


def same(budget: Budget, first: Any = None, second: Any = None, *_ignored: object) -> bool:
    """``===``: equal all the way down."""
    if isinstance(first, list | dict | tuple) and isinstance(second, list | dict | tuple):
        budget.weigh(first)
        budget.weigh(second)
    return bool(first == second)


def _not_same(budget: Budget, first: Any = None, second: Any = None, *_ignored: object) -> bool:
    return not same(budget, first, second)


def _less(_: Budget, first: Any = None, second: Any = None, third: Any = None, *_ignored: object) -> bool:
    return less(first, second) and (third is None or less(second, third))


def _at_most(_: Budget, first: Any = None, second: Any = None, third: Any = None, *_ignored: object) -> bool:
    return at_most(first, second) and (third is None or at_most(second, third))


def _greater(_: Budget, first: Any = None, second: Any = None, third: Any = None, *_ignored: object) -> bool:
    return less(second, first) and (third is None or less(third, second))


def _at_least(_: Budget, first: Any = None, second: Any = None, third: Any = None, *_ignored: object) -> bool:
    return at_most(second, first) and (third is None or at_most(third, second))


def _not(_: Budget, value: Any = None, *_ignored: object) -> bool:
    return not truthy(value)


def _holds(_: Budget, value: Any = None, *_ignored: object) -> bool:
    return truthy(value)


def contains(budget: Budget, member: Any = None, among: Any = None, *_ignored: object) -> bool:
    """``in``: a member of an array, or a part of a text."""
    if isinstance(among, list):
        budget.weigh(among)
        if isinstance(member, list | dict):
            budget.weigh(member)
        return member in among
    if isinstance(among, str):
        budget.weigh(among)
        return part_of(member, among)
    return False


def part_of(member: Any, text: str) -> bool:
    """``in`` with a text; looks at no more of ``member`` than could be a part of it."""
    part = text_within(member, len(text))
    return part is not None and part in text


def is_member(member: Any, among: frozenset[Any]) -> bool:
    """``in`` with an array of texts, numbers, booleans and nulls; nothing else is one of them."""
    return not isinstance(member, list | dict) and member in among


# -- numbers


def _numbers(budget: Budget, values: Sequence[Any]) -> list[Any]:
    numbers = [to_number(value) for value in values]
    for number in numbers:
        budget.weigh(number)
    return numbers


def _add(budget: Budget, *values: Any) -> Any:
    total: Any = 0
    for number in _numbers(budget, values):
        total += number  # not sum(): newer versions of Python round that in another way
    return total


def _multiply(budget: Budget, *values: Any) -> Any:
    product: Any = 1
    for number in _numbers(budget, values):
        if isinstance(product, int) and isinstance(number, int):
            # What it takes grows with the product of the lengths, unlike everything else here.
            budget.spend((product.bit_length() >> 6) * (number.bit_length() >> 6) >> 6)
        product *= number
    return product


def _subtract(_: Budget, first: Any = None, second: Any = None, *_ignored: object) -> Any:
    return -to_number(first) if second is None else to_number(first) - to_number(second)


def _divide(_: Budget, first: Any = None, second: Any = None, *_ignored: object) -> Any:
    return to_number(first) / to_number(second)


def _remainder(budget: Budget, first: Any = None, second: Any = None, *_ignored: object) -> Any:
    dividend, divisor = _numbers(budget, (first, second))
    if isinstance(dividend, int) and isinstance(divisor, int):
        budget.spend((dividend.bit_length() >> 6) * (divisor.bit_length() >> 6) >> 6)
    return dividend % divisor


def _smallest(_: Budget, *values: Any) -> Any:
    return min(map(to_number, values)) if values else nan


def _largest(_: Budget, *values: Any) -> Any:
    return max(map(to_number, values)) if values else nan


# -- texts and arrays


def concatenate(budget: Budget, *values: Any) -> str:
    """``cat``."""
    text = "".join([value if isinstance(value, str) else to_text(budget, value) for value in values])
    budget.weigh(text)
    return text


def _part(budget: Budget, value: Any = None, start: Any = None, length: Any = None, *_ignored: object) -> str:
    text = to_text(budget, value)
    budget.weigh(text)
    first = to_number(start)
    if isnan(first):
        first = 0
    elif first < 0:
        first = 0 if -first >= len(text) else len(text) - int(-first)
    else:
        first = min(int(first), len(text))
    if length is None:
        return text[first:]
    wanted = to_number(length)
    if isnan(wanted):
        return ""
    wanted = int(wanted)
    return text[first : max(first, len(text) + wanted) if wanted < 0 else first + wanted]


def _merge(budget: Budget, *values: Any) -> list[Any]:
    merged: list[Any] = []
    for value in values:
        if isinstance(value, list):
            budget.weigh(value)
            merged.extend(value)
        else:
            merged.append(value)
    return merged


def _log(_: Budget, value: Any = None, *_ignored: object) -> Any:
    return value


# -- flagd's


def _sem_ver(_: Budget, *arguments: Any) -> bool | None:
    return compare(*arguments) if len(arguments) == 3 else None


def starts_with(text: Any, beginning: Any) -> bool | None:
    """``starts_with``; null if an argument is no text."""
    return text.startswith(beginning) if isinstance(text, str) and isinstance(beginning, str) else None


def ends_with(text: Any, end: Any) -> bool | None:
    """``ends_with``; null if an argument is no text."""
    return text.endswith(end) if isinstance(text, str) and isinstance(end, str) else None


def _starts_with(_: Budget, *arguments: Any) -> bool | None:
    return starts_with(*arguments) if len(arguments) == 2 else None


def _ends_with(_: Budget, *arguments: Any) -> bool | None:
    return ends_with(*arguments) if len(arguments) == 2 else None


GIVE_BOOLEANS: Final[dict[str, Operator]] = {
    "==": _equal,
    "!=": _not_equal,
    "===": same,
    "!==": _not_same,
    "<": _less,
    "<=": _at_most,
    ">": _greater,
    ">=": _at_least,
    "!": _not,
    "!!": _holds,
    "in": contains,
    "sem_ver": _sem_ver,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
}
"""Or null: what they give holds for Python exactly if it holds for JsonLogic."""
GIVE_SCALARS: Final[dict[str, Operator]] = {
    **GIVE_BOOLEANS,
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "%": _remainder,
    "min": _smallest,
    "max": _largest,
    "cat": concatenate,
    "substr": _part,
}
OPERATORS: Final[dict[str, Operator]] = {**GIVE_SCALARS, "merge": _merge, "log": _log}
SPEND_NOTHING: Final = frozenset(GIVE_BOOLEANS) - {"===", "!==", "in"} | {"-", "/", "min", "max", "log"}
"""These take no time that grows with what a caller sends, or as little as a comparison of two texts."""
