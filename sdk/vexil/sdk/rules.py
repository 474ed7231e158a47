"""From a flag's document to the logic that is compiled: its usable rules, with evaluators put in.

A rule of Vexil is a condition and an outcome: a variant, or a split that is said with flagd's ``fractional``. Reading a
document here never fails, whatever it holds: a rule that cannot serve is passed over, as when it is materialised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vexil.sdk.codes import PARSE_ERROR
from vexil.sdk.errors import RuleError
from vexil.sdk.references import References

TARGETING_KEY: Final = {"var": "targetingKey"}
FLAG_KEY: Final = {"var": "$flagd.flagKey"}
SEGMENT: Final = "segment"
IN_SEGMENT: Final = "in_segment"


@dataclass(frozen=True, slots=True)
class Rule:
    """Whoever ``condition`` holds for gets ``outcome``: the name of a variant, or JsonLogic that yields one."""

    condition: object
    outcome: object


def usable_rules(document: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules of a flag that can serve, in order, as they were written (evaluators are named, not put in)."""
    written = document.get("rules")
    variants = document.get("variants")
    if not isinstance(written, list | tuple) or not isinstance(variants, Mapping):
        return ()
    rules = []
    for body in written:
        if not isinstance(body, Mapping) or "if" not in body:
            continue
        serve = body.get("serve")
        if isinstance(serve, str):
            if serve in variants:
                rules.append(Rule(body["if"], serve))
        elif (split := _split(body, variants)) is not None:
            rules.append(Rule(body["if"], split))
    return tuple(rules)


def _split(body: Mapping[str, Any], variants: Mapping[str, Any]) -> dict[str, Any] | None:
    entries = body.get("split")
    if not isinstance(entries, list | tuple) or not entries:
        return None
    distribution: list[Any] = []
    for entry in entries:
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            return None
        variant, weight = entry
        # One entry less would move everyone else to another variant: without a variant the rule does not serve.
        if not isinstance(variant, str) or variant not in variants or type(weight) is not int or weight < 0:
            return None
        distribution.append([variant, weight])
    by = body.get("by")
    if by is not None and by != TARGETING_KEY:
        distribution.insert(0, {"cat": [FLAG_KEY, by]})
    return {"fractional": distribution}


def has_logic(document: Mapping[str, Any]) -> bool:
    """Whether a flag has rules or targeting as written, usable or not."""
    return bool(document.get("targeting")) or bool(document.get("rules"))


def is_static(document: Mapping[str, Any]) -> bool:
    """Whether a flag that is on says STATIC: whoever hears that may keep the answer for every context.

    Not so a flag with prerequisites, whatever they are: they may have rules, now or later. It says DEFAULT.
    """
    return not has_logic(document) and not document.get("prerequisites")


def logic_of(document: Mapping[str, Any], references: References) -> dict[str, Any] | list[Any]:
    """What evaluation runs for a flag, with evaluators put in; it gives a variant, or null for the default.

    Raw targeting as it is; rules as the arguments of one ``if``. Raises ``RuleError`` if it cannot be run at all.
    """
    targeting = document.get("targeting")
    if targeting:
        if not isinstance(targeting, dict):
            raise RuleError(PARSE_ERROR, "targeting is not an object")
        expanded = references.expand(targeting)
        if not isinstance(expanded, dict):
            raise RuleError(PARSE_ERROR, "targeting refers to an evaluator that is not an object")
        return expanded
    branches: list[Any] = []
    for rule in usable_rules(document):
        branches += (references.expand(rule.condition), references.expand(rule.outcome))
    return [*branches, None]


def defect_of(document: Mapping[str, Any], references: References) -> RuleError | None:
    """Why what a flag has to run cannot be run at all; None if it can."""
    try:
        logic_of(document, references)
    except RuleError as error:
        return error
    return None


def segments_named_in(rule: object) -> frozenset[str]:
    """The segments that an expanded rule asks for."""
    found: set[str] = set()
    seen: set[int] = set()
    pending = [rule]
    while pending:
        value = pending.pop()
        if not isinstance(value, dict | list) or id(value) in seen:
            continue
        seen.add(id(value))  # an evaluator that is named twice is one object
        if isinstance(value, list):
            pending.extend(value)
            continue
        pending.extend(value.values())
        if len(value) == 1:
            key = segment_key(value)
            if key is not None:
                found.add(key)
    return frozenset(found)


def segment_key(operation: Mapping[str, Any]) -> str | None:
    """The segment in ``{"segment": key}`` or ``{"in_segment": [member, key]}``; None for another operation."""
    position = {SEGMENT: 0, IN_SEGMENT: 1}
    for name, index in position.items():
        if name in operation:
            arguments = operation[name]
            arguments = arguments if isinstance(arguments, list) else [arguments]
            if len(arguments) > index and isinstance(arguments[index], str):
                return str(arguments[index])
    return None


def effective_default(document: Mapping[str, Any]) -> str | None:
    """The variant that a flag falls back to.

    A default that is no variant gives way to ``off_variant``, and that, if it is none either, to the code default.
    """
    variants = document["variants"]
    default = document.get("default")
    if default is not None and default not in variants:
        default = document.get("off_variant")
        if default not in variants:
            return None
    return default
