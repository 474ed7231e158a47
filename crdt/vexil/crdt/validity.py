"""When a value is sound: the checks that authoring refuses by and that materialising makes safe by.

Each function answers with the kind of the defect (``vexil.crdt.conflicts``) or None, and takes anything at all. The
same code on both sides, so that nothing which was accepted is quarantined on arrival.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from math import isfinite
from typing import Final

from vexil.crdt.conflicts import (
    DANGLING_VARIANT,
    INVALID_VALUE,
    LIMIT_LOGIC_DEPTH,
    LIMIT_VALUE_DEPTH,
    UNREADABLE_VALUE,
)
from vexil.crdt.limits import (
    LOGIC_DEPTH_MAX,
    SPLIT_WEIGHT_SUM_MAX,
    TOO_DEEP,
    VALUE_DEPTH_MAX,
    json_defect,
)
from vexil.crdt.payload import UNREADABLE

FLAG_TYPES: Final = ("boolean", "string", "integer", "float", "object")


def variant_defect(flag_type: str, value: object) -> str | None:
    """Whether ``value`` can be a variant of a flag of ``flag_type``.

    A whole number is a sound float; a boolean is no number; an object is a JSON object of bounded depth.
    """
    kind = type(value)
    if flag_type == "boolean":
        sound = kind is bool
    elif flag_type == "string":
        sound = kind is str
    elif flag_type == "integer":
        sound = kind is int
    elif flag_type == "float":
        sound = kind is int or (isinstance(value, float) and isfinite(value))
    elif flag_type == "object" and kind is dict:
        defect = json_defect(value, depth_max=VALUE_DEPTH_MAX)
        return None if defect is None else LIMIT_VALUE_DEPTH if defect == TOO_DEEP else INVALID_VALUE
    else:
        sound = False
    return None if sound else wrong(value)


def logic_defect(value: object) -> str | None:
    """Whether ``value`` is JsonLogic that is safe to hand to an evaluator: JSON of bounded depth, any operators."""
    if value is True:  # what a rule that always holds has
        return None
    defect = json_defect(value, depth_max=LOGIC_DEPTH_MAX)
    if defect is None:
        return None
    return LIMIT_LOGIC_DEPTH if defect == TOO_DEEP else wrong(value)


def scalar_defect(value: object) -> str | None:
    """Whether ``value`` can be a member of metadata: text, a number or a boolean."""
    if isinstance(value, str | bool | int) or (isinstance(value, float) and isfinite(value)):
        return None
    return wrong(value)


def rule_defect(body: object, variants: Container[str]) -> str | None:
    """Whether ``body`` is a rule that can serve: ``if``, and either ``serve`` or ``split`` (with ``by``).

    Unknown members are a newer version's and no defect. All variants of a split must be there: leaving one out would
    move everyone else to another variant.
    """
    if not isinstance(body, dict) or "if" not in body:
        return wrong(body)
    defect = logic_defect(body["if"])
    if defect is None and "by" in body:
        defect = logic_defect(body["by"])
    if defect is not None:
        return defect
    if not isinstance(body.get("description", ""), str) or ("serve" in body) == ("split" in body):
        return INVALID_VALUE
    if "split" in body:
        return _split_defect(body["split"], variants)
    serve = body["serve"]
    if not isinstance(serve, str):
        return INVALID_VALUE
    return None if serve in variants else DANGLING_VARIANT


def segment_rule_defect(body: object) -> str | None:
    """Whether ``body`` is a rule of a segment: ``if``."""
    if not isinstance(body, dict) or "if" not in body:
        return wrong(body)
    return logic_defect(body["if"])


def targeting_defect(value: object) -> str | None:
    """Whether ``value`` is raw targeting: a JSON object of bounded depth, or None for none."""
    if value is None:
        return None
    return logic_defect(value) if isinstance(value, dict) else wrong(value)


def wrong(value: object) -> str:
    """The kind of a value that has the wrong shape: whether this version could read it at all."""
    return UNREADABLE_VALUE if value is UNREADABLE else INVALID_VALUE


def _split_defect(split: object, variants: Container[str]) -> str | None:
    if not isinstance(split, list) or not split:
        return INVALID_VALUE
    total = 0
    dangling = False
    for entry in split:
        if not isinstance(entry, list) or len(entry) != 2:
            return INVALID_VALUE
        name, weight = entry
        if not isinstance(name, str) or type(weight) is not int or weight < 0:
            return INVALID_VALUE
        total += weight
        dangling = dangling or name not in variants
    if not 0 < total <= SPLIT_WEIGHT_SUM_MAX:
        return INVALID_VALUE
    return DANGLING_VARIANT if dangling else None


def members_of(body: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    """The members of ``body`` that this version knows, in the order of ``names``."""
    return {name: body[name] for name in names if name in body}
