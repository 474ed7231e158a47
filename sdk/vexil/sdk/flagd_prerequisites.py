"""Saying prerequisites in flagd's language, which has none.

A flag that asks for variant ``v`` of another one holds the other one's rules, wrapped so that they yield the *name* of
its variant, compared with ``v``. That works as long as the other flag's answer does not lean on what is lost on the
way: its key in the shorthand of ``fractional``, or flagd's reading of a computed value as the name of a variant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vexil.sdk.errors import CannotSay
from vexil.sdk.flagd_logic import Inliner
from vexil.sdk.limits import EXPORT_INLINE_MAX
from vexil.sdk.logic import KNOWN_OPERATORS
from vexil.sdk.model import FlagSet
from vexil.sdk.rules import effective_default, usable_rules

CONDITIONAL: Final = frozenset({"if", "?:"})
YIELD_BOOLEANS: Final = frozenset(
    {"==", "!=", "===", "!==", "<", ">", "<=", ">=", "!", "!!", "in", "all", "some", "none"}
)
MAY_FAIL: Final = frozenset({"/", "%"})
"""A prerequisite that fails is not met; put into another flag it would fail that one."""
NO_VARIANT: Final = ""
"""Stands for an error where a name is compared: no variant is called so."""


def is_off(flag_set: FlagSet, key: str) -> bool:
    """Whether flag ``key``, which is there, is on the off path for everyone, prerequisites aside."""
    document = flag_set.flags[key]
    return document["enabled"] is not True or "broken" in document or key in flag_set.cyclic


def filled(logic: Any, default: str) -> Any:
    """``logic`` with ``default`` where it would give null."""
    if logic is None:
        return default
    if not isinstance(logic, dict):
        return logic
    branches = _branches(logic)
    if branches is None:
        return {"if": [{"===": [logic, None]}, default, logic]}
    return {
        "if": [
            branch if _is_condition(position, branches) else filled(branch, default)
            for position, branch in enumerate(branches)
        ]
    }


class Prerequisites:
    """The prerequisites of one flag, as conditions to put into it."""

    __slots__ = ("_flag_set", "_inlined", "_inliner")

    def __init__(self, flag_set: FlagSet, inliner: Inliner) -> None:
        self._flag_set = flag_set
        self._inliner = inliner
        self._inlined = 0

    def conditions(self, key: str) -> list[Any] | None:
        """What must hold for the prerequisites of ``key`` to be met; None if they never are.

        Raises ``CannotSay``.
        """
        conditions = []
        for prerequisite in self._flag_set.flags[key]["prerequisites"]:
            met = self._met(prerequisite["flag"], prerequisite["variant"])
            if met is False:
                return None
            if met is not True:
                conditions.append(met)
        return conditions

    def _met(self, key: str, variant: str) -> Any:
        document = self._flag_set.flags.get(key)
        if document is None or variant not in document["variants"]:
            return False
        if is_off(self._flag_set, key):
            return document["off_variant"] == variant
        self._inlined += 1
        if self._inlined > EXPORT_INLINE_MAX:
            raise CannotSay(f"more than {EXPORT_INLINE_MAX} prerequisites would have to be inline")
        conditions = self.conditions(key)
        if conditions is None:
            return document["off_variant"] == variant
        name = self._name(key, document, variant)
        if not conditions:
            return name == variant if isinstance(name, str) else {"===": [name, variant]}
        met = conditions[0] if len(conditions) == 1 else {"and": conditions}
        return {"===": [{"if": [met, name, document["off_variant"] or NO_VARIANT]}, variant]}

    def _name(self, key: str, document: Mapping[str, Any], wanted: str) -> Any:
        """JsonLogic that yields ``wanted`` exactly if flag ``key``, being on, gives it."""
        error = self._flag_set.defect(key)
        if error is not None:
            return NO_VARIANT
        default = effective_default(document) or NO_VARIANT
        inliner = self._inliner.moved_from(key)
        if document["targeting"]:
            logic = inliner.rewrite(document["targeting"])
        else:
            rules = usable_rules(document)
            if not rules:
                return default
            logic = {
                "if": [
                    *(inliner.rewrite(part) for rule in rules for part in (rule.condition, rule.outcome)),
                    None,
                ]
            }
        _require_safe(key, logic)
        return _Names(key, default, wanted).of(logic)


class _Names:
    """Turns logic that yields what flagd reads as a variant into logic that yields the variant's name."""

    __slots__ = ("_default", "_key", "_wanted")

    def __init__(self, key: str, default: str, wanted: str) -> None:
        self._key = key
        self._default = default
        self._wanted = wanted

    def of(self, logic: Any) -> Any:
        if not isinstance(logic, dict) or len(logic) != 1:
            return self._of_data(logic)
        branches = _branches(logic)
        if branches is not None:
            return {
                "if": [
                    branch if _is_condition(position, branches) else self.of(branch)
                    for position, branch in enumerate(branches)
                ]
            }
        [(operator, arguments)] = logic.items()
        if operator in YIELD_BOOLEANS:
            return {"if": [logic, self._of_data(True), self._of_data(False)]}
        if operator == "cat":
            return logic
        if operator == "fractional" and isinstance(arguments, list) and arguments:
            bucket_by, *entries = arguments
            return self._or_default(
                {"fractional": [bucket_by, *([self.of(entry[0]), *entry[1:]] for entry in entries)]}
                if all(isinstance(entry, list) and entry for entry in entries)
                else None
            )
        raise CannotSay(f"prerequisite {self._key!r} computes its variant with {operator!r}")

    def _of_data(self, value: Any) -> str:
        if value is None:
            return self._default
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, int | float):
            value = str(value)
        # A name that is no variant is an error there, and equal to no wanted one here.
        return value if isinstance(value, str) else NO_VARIANT

    def _or_default(self, logic: Any) -> Any:
        if logic is None:
            return self._default
        # Null and any other variant than the wanted one come to the same.
        return filled(logic, self._default) if self._default == self._wanted else logic


def _branches(logic: Mapping[str, Any]) -> list[Any] | None:
    """The arguments of an ``if`` with its ``else`` said, null if it has none; None for other logic."""
    if len(logic) != 1:
        return None
    [(operator, arguments)] = logic.items()
    if operator not in CONDITIONAL:
        return None
    branches = arguments if isinstance(arguments, list) else [arguments]
    return list(branches) if len(branches) % 2 else [*branches, None]


def _is_condition(position: int, branches: list[Any]) -> bool:
    return position % 2 == 0 and position != len(branches) - 1


def _require_safe(key: str, logic: Any) -> None:
    pending = [logic]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
            if len(value) == 1:
                [operator] = value
                if operator not in KNOWN_OPERATORS or operator in MAY_FAIL:
                    raise CannotSay(f"prerequisite {key!r} has {operator!r}, which may fail")
