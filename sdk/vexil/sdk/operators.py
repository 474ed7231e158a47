"""flagd's operators and those of JsonLogic: functions of arguments that are evaluated already.

They are the reference implementation's. It tells the log about every argument that it does not like, some with a
traceback; arguments come from callers, and one caller must not flood the log of the process that evaluates for him.
So each of its operators is called here only with arguments that it takes without a word, and what it would have
answered to others, null, is answered here.

What is different on purpose: ``log`` writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from json_logic.builtins import BUILTINS, to_bool  # type: ignore[import-untyped]  # ships no types
from openfeature.contrib.tools.flagd.core.targeting import custom_ops

from vexil.sdk.limits import NESTING_MAX

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
"""Called with the data in scope and the evaluated arguments. ``fractional`` is not among them: ``logic`` has to see how
it is written."""
