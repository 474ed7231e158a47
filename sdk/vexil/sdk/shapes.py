"""The documents of a flag set: what they are made of, as types.

A document is plain JSON, made by whoever materialises and never changed afterwards. That it has its type is hoped for
and not relied on: what reached a reader may be of any shape.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal, NotRequired, TypedDict

FlagType = Literal["boolean", "string", "integer", "float", "object"]
FLAG_TYPES: Final[tuple[FlagType, ...]] = ("boolean", "string", "integer", "float", "object")

# "if" is a keyword: these two cannot be written as classes.
RuleDocument = TypedDict(
    "RuleDocument",
    {
        "id": str,
        "if": Any,
        "serve": NotRequired[str],
        "split": NotRequired[list[Any]],
        "by": NotRequired[Any],
    },
)
"""A rule: ``serve`` or ``split`` (``[[variant, weight], …]``), the latter with ``by`` (JsonLogic) or without."""
SegmentRuleDocument = TypedDict("SegmentRuleDocument", {"id": str, "if": Any})
"""A rule of a segment: whoever it holds for belongs to it."""


class PrerequisiteDocument(TypedDict):
    """Another flag of this environment, and the variant that it must give."""

    flag: str
    variant: str


class FlagDocument(TypedDict):
    """One flag in one environment, as it is evaluated.

    ``enabled`` is false for a killed flag too. ``rules`` and ``targeting`` exclude each other. ``broken`` is the
    reason why the flag is on the off path whatever else it says.
    """

    type: FlagType
    enabled: bool
    off_variant: str | None
    default: str | None
    variants: dict[str, Any]
    rules: list[RuleDocument]
    targeting: dict[str, Any] | None
    prerequisites: list[PrerequisiteDocument]
    metadata: dict[str, Any]
    client_visible: bool
    broken: NotRequired[str]


class SegmentDocument(TypedDict):
    """A group of people: those listed, and those for whom a rule holds."""

    members: AbstractSet[str]
    rules: list[SegmentRuleDocument]
