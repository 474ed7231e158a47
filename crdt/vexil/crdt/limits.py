"""The bounds of one object, by name. Authoring refuses what is over them; materialising quarantines it.

Both sides import the same numbers and the same walk over JSON (``json_defect``): a validator and a reader that
disagree are an outage. A merge of two permitted writes can still end above a bound, so reading never trusts writing.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Final

FLAG_KEY_BYTES_MAX: Final = 200
SEGMENT_KEY_BYTES_MAX: Final = 200
PROJECT_NAME_BYTES_MAX: Final = 64
ENVIRONMENT_NAME_BYTES_MAX: Final = 64
FLAG_BYTES_MAX: Final = 64 * 1024
"""Field names and payloads of the values that a flag shows in its project's environments: ``FlagState.size_bytes``."""
VARIANTS_MAX: Final = 100
RULES_MAX: Final = 200
"""Rules of one flag in one environment, and rules of one segment."""
LOGIC_DEPTH_MAX: Final = 32
VALUE_DEPTH_MAX: Final = 32
SEGMENT_MEMBERS_MAX: Final = 1_000_000
SPLIT_WEIGHT_SUM_MAX: Final = (1 << 31) - 1
"""flagd's ``fractional`` gives null above it."""

INVALID: Final = "invalid"
TOO_DEEP: Final = "too-deep"


def json_defect(value: object, *, depth_max: int) -> str | None:
    """Why ``value`` is not JSON data of at most ``depth_max`` levels: ``INVALID``, ``TOO_DEEP``, or None if it is.

    An object is a level; an array is one unless it is directly the value of a member, so that an operation
    ``{"op": [arguments]}`` counts once. NaN and infinities, byte strings and other than text keys are no JSON.
    The recursion is bounded by ``2 * depth_max``.
    """
    return _defect(value, depth_max, in_object=False)


def _defect(value: object, levels_left: int, *, in_object: bool) -> str | None:
    kind = type(value)
    if kind is str or kind is bool or kind is int or value is None:
        return None
    if isinstance(value, dict):
        for name in value:
            if type(name) is not str:
                return INVALID
        return _items_defect(value.values(), levels_left - 1, in_object=True)
    if isinstance(value, list):
        return _items_defect(value, levels_left if in_object else levels_left - 1, in_object=False)
    return None if isinstance(value, float) and isfinite(value) else INVALID


def _items_defect(items: Iterable[object], levels_left: int, *, in_object: bool) -> str | None:
    if levels_left < 0:
        return TOO_DEEP
    for item in items:
        if type(item) is not str and (defect := _defect(item, levels_left, in_object=in_object)):
            return defect
    return None
