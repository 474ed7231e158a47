"""JsonLogic's conversions, and the comparisons that rest on them: what holds, what is equal, what is less.

They are those of the reference implementation, which is Python's reading of JavaScript's. Each takes a time that does
not depend on how large its argument is, but on the other one: a text is compared with as much of an array as the text
is long. What is different on purpose: a text of more than ``NUMBER_CHARACTERS_MAX`` is no number, and a nest of arrays
ends in "no number" and "another text" where the reference ends in an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Any, Final

from vexil.sdk.budget import Budget
from vexil.sdk.limits import NUMBER_CHARACTERS_MAX

NOT_JAVASCRIPTS: Final = frozenset({"inf", "-inf", "+inf"})
"""Python reads these as numbers; what JsonLogic's reference takes from Python stays as it is there."""


def truthy(value: object = None) -> bool:
    """Whether ``value`` holds, as JsonLogic has it: null, false, 0, NaN, ``""`` and ``[]`` do not; an object does."""
    if value is None:
        return False
    if isinstance(value, float):
        return value == value and value != 0.0  # noqa: PLR0124 - NaN is not equal to itself
    if isinstance(value, str | int | list):
        return bool(value)
    return True


def to_number(value: Any) -> Any:
    """``value`` as a number; NaN if it is none. Raises what Python raises for what is not JSON."""
    levels = 0
    while isinstance(value, list):
        if not value:
            return 0
        levels += 1
        if len(value) > 1 or levels > NUMBER_CHARACTERS_MAX:
            return nan
        value = value[0]
    if isinstance(value, int | float):
        return value
    if value is None:
        return 0
    if isinstance(value, dict):
        return nan
    if isinstance(value, str) and (
        len(value) > NUMBER_CHARACTERS_MAX or value.strip().lower() in NOT_JAVASCRIPTS
    ):
        return nan
    try:
        return float(value)
    except ValueError:
        return nan


def to_text(budget: Budget, value: object) -> str:
    """``value`` as a text; spends what it takes."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        budget.weigh(value)
        return ",".join(_pieces(value))
    return _text_of_one(value)


def equals(first: Any, second: Any) -> bool:
    """``==``: arrays and objects are equal to themselves only. Raises ``TypeError`` for what is not JSON."""
    kind = type(first)
    if kind is type(second):
        return first is second if kind is list or kind is dict else bool(first == second)
    if isinstance(first, int | float):
        return bool(first == to_number(second))
    if isinstance(second, int | float):
        return bool(to_number(first) == second)
    if first is None or second is None:
        return False
    if isinstance(first, str):
        return first == _text_beside(first, second)
    if isinstance(second, str):
        return second == _text_beside(second, first)
    if isinstance(first, list | dict) and isinstance(second, list | dict):
        return False
    raise TypeError("not JSON")


def less(first: Any, second: Any) -> bool:
    """``<`` of two."""
    first, second = _comparable(first, second)
    return bool(first < second)


def at_most(first: Any, second: Any) -> bool:
    """``<=`` of two."""
    first, second = _comparable(first, second)
    return bool(first <= second)


def _comparable(first: Any, second: Any) -> tuple[Any, Any]:
    if isinstance(first, int | float):
        return first, to_number(second)
    if isinstance(second, int | float):
        return to_number(first), second
    if isinstance(first, str):
        return first, _text_beside(first, second)
    if isinstance(second, str):
        return _text_beside(second, first), second
    return to_number(first), to_number(second)


def text_within(value: object, characters_max: int) -> str | None:
    """``value`` as a text, None if that has more characters; looks no further than that."""
    if isinstance(value, str):
        return value if len(value) <= characters_max else None
    text = _beginning(value, characters_max)
    return text if len(text) <= characters_max else None


def _text_beside(other: str, value: object) -> str:
    """The text of ``value``, or as much of it as a comparison with ``other`` takes."""
    return value if isinstance(value, str) else _beginning(value, len(other))


def _beginning(value: object, characters: int) -> str:
    """The text of ``value``, which is none; of a longer one at least ``characters`` + 1."""
    if not isinstance(value, list):
        return _text_of_one(value)
    pieces: list[str] = []
    length = -1  # one comma less than pieces
    for piece in _pieces(value, levels_max=characters + NUMBER_CHARACTERS_MAX):
        pieces.append(piece)
        length += len(piece) + 1
        if length > characters:
            break
    return ",".join(pieces)


def _pieces(value: list[Any], *, levels_max: int | None = None) -> Iterator[str]:
    """What stands between the commas. An array in an array is its items; an empty one is an empty piece."""
    pending = [iter(value)]
    if not value:
        return
    while pending:
        for item in pending[-1]:
            if not isinstance(item, list):
                yield _text_of_one(item)
            elif not item:
                yield ""
            elif levels_max is not None and len(pending) >= levels_max:
                yield " " * levels_max  # a text that nothing is equal to
            else:
                pending.append(iter(item))
                break
        else:
            pending.pop()


def _text_of_one(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.15g}"
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "[object Object]"
    return str(value)
