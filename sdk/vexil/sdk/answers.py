"""The answers of a flag: what can be said beforehand is an object already when somebody asks.

An answer depends on nothing but the variant and the reason, and on the flag's document; those that a rule can give are
made when the flag is compiled. What a computed rule gives is looked up, and only what is wrong is made when it happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from vexil.sdk.budget import BudgetSpent
from vexil.sdk.codes import DEFAULT, DISABLED, ERROR, FLAG_NOT_FOUND, GENERAL, TARGETING_MATCH, TYPE_MISMATCH
from vexil.sdk.errors import RuleError
from vexil.sdk.limits import ERROR_DETAILS_CHARACTERS_MAX
from vexil.sdk.rules import effective_default


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


NOT_FOUND: Final = Evaluation("", ABSENT, "", ERROR, FLAG_NOT_FOUND, "there is no such flag")
"""The answer of every flag that is not there; one object, without the key, so that it costs nothing to give."""


_SERVED: Final = ("type", "variants", "default", "off_variant")
"""What the answers of a flag are made of."""


def failed(key: str, code: str, details: str, metadata: Mapping[str, Any]) -> Evaluation:
    """An answer that is an error."""
    return Evaluation(key, ABSENT, "", ERROR, code, details[:ERROR_DETAILS_CHARACTERS_MAX], metadata)


class Errors:
    """The answers of one flag that are errors."""

    __slots__ = ("key", "metadata")

    def __init__(self, key: str, metadata: Mapping[str, Any]) -> None:
        self.key = key
        self.metadata = metadata

    def error(self, code: str, details: str) -> Evaluation:
        """The answer that is this error."""
        return failed(self.key, code, details, self.metadata)

    def fail(self, error: Exception) -> Evaluation:
        """The answer when something was raised. A budget that is spent for several flags is raised on."""
        if isinstance(error, BudgetSpent) and error.shared:
            raise error
        if isinstance(error, RuleError):
            return self.error(error.code, error.details)
        return self.error(GENERAL, f"the evaluation failed: {type(error).__name__}")


class FlagAnswers(Errors):
    """The answers of one flag. Total: a document that cannot be read gives errors.

    ``give`` and ``fail`` are called when somebody asks, the others when the flag is compiled. It keeps what answers are
    made of, not the rules.
    """

    __slots__ = ("_document", "_given")

    def __init__(self, key: str, document: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        super().__init__(key, metadata)
        self._document = {name: document[name] for name in _SERVED if name in document}
        self._given: dict[str, Evaluation] | None = None

    def serve(self, variant: str, reason: str = TARGETING_MATCH) -> Evaluation:
        """The answer ``variant``; an error if that is no variant, or its value is not of the flag's type."""
        try:
            if variant not in self._document["variants"]:
                return self.error(GENERAL, f"the rule gave {variant!r}, which is no variant of the flag")
            served = _variant_if_sound(self._document, variant)
        except Exception as error:  # noqa: BLE001 - total: a malformed document is an answer too
            return self.fail(error)
        if served is None:
            return self.error(TYPE_MISMATCH, f"the value of variant {variant!r} is not of the flag's type")
        return Evaluation(self.key, served[1], served[0], reason, metadata=self.metadata)

    def default(self, reason: str = DEFAULT) -> Evaluation:
        """The answer when nothing chooses a variant."""
        try:
            default = effective_default(self._document)
        except Exception as error:  # noqa: BLE001 - as in `serve`
            return self.fail(error)
        if default is None:
            return Evaluation(self.key, ABSENT, "", DEFAULT, metadata=self.metadata)
        return self.serve(default, reason)

    def off(self) -> Evaluation:
        """The answer on the off path: the off variant, or no value."""
        served = _variant_if_sound(self._document, self._document.get("off_variant"))
        if served is None:
            return Evaluation(self.key, ABSENT, "", DISABLED, metadata=self.metadata)
        return Evaluation(self.key, served[1], served[0], DISABLED, metadata=self.metadata)

    def of_constant(self, result: Any) -> Evaluation:
        """The answer for what a rule gives always."""
        try:
            return self._of_result(result)
        except Exception as error:  # noqa: BLE001 - a number of too many digits
            return self.fail(error)

    def give(self, result: Any) -> Evaluation:
        """The answer for what a rule gave. Raises what turning it into the name of a variant raises."""
        if type(result) is not str:
            return self._of_result(result)
        given = self._given
        if given is None:
            given = self._given = {name: self.serve(name) for name in self._document.get("variants") or ()}
        found = given.get(result)
        return self.serve(result) if found is None else found

    def _of_result(self, result: Any) -> Evaluation:
        if result is None:
            return self.default()
        if isinstance(result, str):
            return self.serve(result)
        if isinstance(result, bool):
            return self.serve("true" if result else "false")
        if isinstance(result, int | float):
            return self.serve(str(result))
        return self.error(GENERAL, "the rule gave an array or an object where a variant's name belongs")


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


def is_off(document: object) -> bool:
    """Whether a flag is on the off path whatever is asked: disabled, killed or broken."""
    return not isinstance(document, Mapping) or document.get("enabled") is not True or "broken" in document


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
