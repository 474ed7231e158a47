"""What a flag gives for a context, and why.

``evaluate`` is total: whatever the documents and the context hold, the answer is an ``Evaluation``, if need be one
with an error code. One bad flag never harms another.

A flag answers in this order: it is not there; it is on the *off path* (disabled, killed, broken, on a prerequisite
cycle, a prerequisite does not give its variant); its targeting or its rules choose a variant; its default; no value,
so that the caller's own default applies. A prerequisite that ends in an error is not met.

Evaluating writes no log: flagd's operators, which would, are only called where they have nothing to say
(``operators``). What is wrong with a context or a rule is in the answer, and goes to whoever asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from vexil.sdk.codes import (
    DEFAULT,
    DISABLED,
    ERROR,
    FLAG_NOT_FOUND,
    GENERAL,
    INVALID_CONTEXT,
    STATIC,
    TARGETING_MATCH,
    TYPE_MISMATCH,
)
from vexil.sdk.errors import RuleError
from vexil.sdk.limits import ERROR_DETAILS_CHARACTERS_MAX
from vexil.sdk.logic import BudgetSpent, Walk
from vexil.sdk.model import BUCKETING, FlagSet
from vexil.sdk.operators import truthy
from vexil.sdk.rules import effective_default, has_logic


class Absent:
    """The type of ``ABSENT``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"

    def __copy__(self) -> Absent:
        return self

    def __deepcopy__(self, memo: object) -> Absent:
        return self

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""There is no value: the caller's own default applies. Not null, which no flag can be."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One answer. ``value`` and ``metadata`` are shared with the flag set: never to be changed.

    ``variant`` is ``""`` where there is none. ``error_code`` is set exactly if ``reason`` is ERROR, and then there is
    no value.
    """

    key: str
    value: Any
    variant: str
    reason: str
    error_code: str | None = None
    error_details: str | None = None
    metadata: Mapping[str, str | int | float | bool] = field(default_factory=dict)


def evaluate(flag_set: FlagSet, key: str, context: Mapping[str, Any] | None, *, now_s: float) -> Evaluation:
    """The answer of flag ``key`` for ``context``; never raises.

    ``context`` has decoded JSON, ``targetingKey`` among it; None is an empty one. ``now_s`` is the Unix time that
    rules see as ``$flagd.timestamp``, cut to whole seconds. Equal flag sets, contexts and seconds give equal answers
    everywhere.
    """
    try:
        if context is not None and not isinstance(context, Mapping):
            return _failed(key, INVALID_CONTEXT, "the context is not an object", {})
        return _Answers(flag_set, context or {}, now_s).answer(key)
    except BudgetSpent as error:
        return _failed(key, error.code, error.details, {})
    except Exception as error:  # noqa: BLE001 - total: what no check foresaw is an answer too, and not one to every flag
        return _failed(key, GENERAL, f"the evaluation failed: {type(error).__name__}", {})


class _Answers:
    """The answers of one flag and its prerequisites for one context, with one budget."""

    __slots__ = ("_data", "_flag_set", "_found", "_timestamp", "_walk")

    def __init__(self, flag_set: FlagSet, context: Mapping[str, Any], now_s: float) -> None:
        self._flag_set = flag_set
        self._data = {**context, "targetingKey": context.get("targetingKey")}
        self._timestamp = int(now_s)
        self._walk = Walk(flag_set)
        self._found: dict[str, Evaluation] = {}

    def answer(self, key: str) -> Evaluation:
        # Prerequisites first, with a stack of our own: a chain of them may be longer than Python's.
        open_flags = [key]
        while open_flags:
            self._walk.spend(1)
            current = open_flags[-1]
            pending = self._first_unanswered(current)
            if pending is not None:
                open_flags.append(pending)
                continue
            open_flags.pop()
            if current not in self._found:
                self._found[current] = self._one(current)
        return self._found[key]

    def _first_unanswered(self, key: str) -> str | None:
        """The next prerequisite of ``key`` that has to be answered before it; None if enough is known."""
        flag_set = self._flag_set
        if not flag_set.prerequisites(key) or key in flag_set.cyclic:
            return None
        document = flag_set.flags[key]
        if _is_off(document):
            return None
        written: list[Any] = list(document["prerequisites"])  # as it reached us: of any shape
        for prerequisite in written:
            flag = prerequisite.get("flag") if isinstance(prerequisite, Mapping) else None
            if not isinstance(flag, str) or flag not in flag_set.flags:
                return None
            found = self._found.get(flag)
            if found is None:
                return flag
            if not _gives(found, prerequisite.get("variant")):
                return None
        return None

    def _one(self, key: str) -> Evaluation:
        flag_set = self._flag_set
        document = flag_set.flags.get(key)
        if document is None:
            return _failed(key, FLAG_NOT_FOUND, f"there is no flag {key!r}", {})
        metadata: dict[str, Any] = {}
        try:
            if not isinstance(document, Mapping):
                raise RuleError(GENERAL, "the flag cannot be read")
            metadata = merged_metadata(flag_set.metadata, document.get("metadata"))
            if _is_off(document) or key in flag_set.cyclic or not self._prerequisites_met(document):
                return _off(key, document, metadata)
            return self._on(key, document, metadata)
        except (
            RuleError
        ) as error:  # a spent budget too: it stays spent, and the next step says so for the whole answer
            return _failed(key, error.code, error.details, metadata)
        except Exception as error:  # noqa: BLE001 - an operator's complaint (division by zero …) ends one flag's answer
            return _failed(key, GENERAL, f"the evaluation failed: {type(error).__name__}", metadata)

    def _prerequisites_met(self, document: Mapping[str, Any]) -> bool:
        for prerequisite in document.get("prerequisites") or ():
            if not isinstance(prerequisite, Mapping):
                return False
            found = self._found.get(prerequisite.get("flag", ""))
            if found is None or not _gives(found, prerequisite.get("variant")):
                return False
        return True

    def _on(self, key: str, document: Mapping[str, Any], metadata: dict[str, Any]) -> Evaluation:
        compiled = self._flag_set.compiled(key)
        if compiled.error is not None:
            raise RuleError(compiled.error.code, compiled.error.details)
        if compiled.targeting is not None:
            variant = self._variant_of(key, compiled.targeting)
            if variant is not None:
                return _serve(key, document, variant, TARGETING_MATCH, metadata)
            return _default(key, document, DEFAULT, metadata)
        for rule in compiled.rules:
            if not truthy(self._run(key, rule.condition)):
                continue
            variant = rule.outcome if isinstance(rule.outcome, str) else self._variant_of(key, rule.outcome)
            if variant is not None:
                return _serve(key, document, variant, TARGETING_MATCH, metadata)
            break  # a split that nobody can be put into, for want of a targeting key
        return _default(key, document, DEFAULT if has_logic(document) else STATIC, metadata)

    def _variant_of(self, key: str, logic: object) -> str | None:
        result = self._run(key, logic)
        if result is None or isinstance(result, str):
            return result
        if isinstance(result, bool):
            return "true" if result else "false"
        if isinstance(result, int | float):
            return str(result)
        raise RuleError(GENERAL, "the rule gave an array or an object where a variant's name belongs")

    def _run(self, key: str, logic: object) -> Any:
        if not isinstance(logic, dict | list):
            return logic
        if self._flag_set.bucketing != BUCKETING:
            raise RuleError(GENERAL, f"this version does not know the bucketing {self._flag_set.bucketing!r}")
        data = {**self._data, "$flagd": {"flagKey": key, "timestamp": self._timestamp}}
        return self._walk.run(logic, key, data)


def merged_metadata(of_set: Mapping[str, Any], of_flag: object) -> dict[str, str | int | float | bool]:
    """The set's metadata overlaid by the flag's; what is not text, a number or a boolean is left out."""
    merged = {**of_set, **of_flag} if isinstance(of_flag, Mapping) else dict(of_set)
    return {
        name: value
        for name, value in merged.items()
        if isinstance(name, str)
        and (isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)))
    }


def is_of_type(flag_type: object, value: object) -> bool:
    """Whether ``value`` can be a variant of a flag of ``flag_type``; a whole number is a sound float."""
    kind = type(value)
    if flag_type == "boolean":
        return kind is bool
    if flag_type == "string":
        return kind is str
    if flag_type == "integer":
        return kind is int
    if flag_type == "float":
        return kind is int or (isinstance(value, float) and isfinite(value))
    return flag_type == "object" and kind is dict


def _is_off(document: object) -> bool:
    return not isinstance(document, Mapping) or document.get("enabled") is not True or "broken" in document


def _gives(found: Evaluation, variant: object) -> bool:
    return found.variant != "" and found.variant == variant  # an error has no variant


def _off(key: str, document: Mapping[str, Any], metadata: dict[str, Any]) -> Evaluation:
    served = _variant_if_sound(document, document.get("off_variant"))
    if served is None:
        return Evaluation(key, ABSENT, "", DISABLED, metadata=metadata)
    return Evaluation(key, served[1], served[0], DISABLED, metadata=metadata)


def _default(key: str, document: Mapping[str, Any], reason: str, metadata: dict[str, Any]) -> Evaluation:
    default = effective_default(document)
    if default is None:
        return Evaluation(key, ABSENT, "", DEFAULT, metadata=metadata)
    return _serve(key, document, default, reason, metadata)


def _serve(
    key: str, document: Mapping[str, Any], variant: str, reason: str, metadata: dict[str, Any]
) -> Evaluation:
    if variant not in document["variants"]:
        raise RuleError(GENERAL, f"the rule gave {variant!r}, which is no variant of the flag")
    served = _variant_if_sound(document, variant)
    if served is None:
        raise RuleError(TYPE_MISMATCH, f"the value of variant {variant!r} is not of the flag's type")
    return Evaluation(key, served[1], served[0], reason, metadata=metadata)


def _variant_if_sound(document: Mapping[str, Any], variant: object) -> tuple[str, Any] | None:
    variants = document.get("variants")
    if not isinstance(variant, str) or not isinstance(variants, Mapping) or variant not in variants:
        return None
    value = variants[variant]
    flag_type = document.get("type")
    if not is_of_type(flag_type, value):
        return None
    if flag_type == "float" and isinstance(value, int):
        try:
            return variant, float(value)
        except OverflowError:
            return None
    return variant, value


def _failed(key: str, code: str, details: str, metadata: Mapping[str, Any]) -> Evaluation:
    return Evaluation(key, ABSENT, "", ERROR, code, details[:ERROR_DETAILS_CHARACTERS_MAX], metadata)
