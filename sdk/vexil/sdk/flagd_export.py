"""From a flag set to a flagd document.

A flag keeps its meaning, not its form: rules become one ``if``, a split ``fractional``, a flag that is off with an
``off_variant`` an enabled one with that default and nothing to run. Values and variants are the same for every context.
Reasons are flagd's: only a flag that says STATIC here says it there, except that an off path, for which flagd has no
word, says STATIC or TARGETING_MATCH.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vexil.sdk.errors import CannotSay, RuleError
from vexil.sdk.evaluation import is_of_type, merged_metadata
from vexil.sdk.flagd_logic import Inliner
from vexil.sdk.flagd_prerequisites import Prerequisites, filled, is_off
from vexil.sdk.limits import EXPORTED_FLAG_BYTES_MAX, LOGIC_DEPTH_MAX
from vexil.sdk.model import FlagSet
from vexil.sdk.references import References, depth_of
from vexil.sdk.rules import effective_default, is_static, usable_rules

ENABLED: Final = "ENABLED"
DISABLED: Final = "DISABLED"
ALWAYS_DEFAULT: Final[dict[str, Any]] = {"if": [True, None]}
"""Logic for flagd to say DEFAULT of a flag whose prerequisites or rules come to nothing as they are now."""


class NotExportable(NamedTuple):
    """A flag that is left out of a flagd document, and why."""

    key: str
    reason: str


def to_flagd(flag_set: FlagSet) -> tuple[dict[str, Any], list[NotExportable]]:
    """The flagd document of ``flag_set``, and the flags that it leaves out.

    Flags are sorted by key; each has only the members that flagd knows. Shared evaluators keep their names and have
    no references left in them. An evaluator whose text needs a backslash (other than ASCII, quotes) is put in where
    it is named and left out of ``$evaluators``: flagd's Python implementation gives up on the whole document for it.
    """
    export = FlagdExport(flag_set)
    flags = export.flags(sorted(flag_set.flags))
    return {"flags": flags, **export.others()}, export.left_out


class FlagdExport:
    """A flagd document in the making, for a large flag set that is taken bit by bit; it must not change meanwhile."""

    __slots__ = ("_evaluators", "_flag_set", "_references", "left_out")

    def __init__(self, flag_set: FlagSet) -> None:
        self._flag_set = flag_set
        self._references = References(flag_set.evaluators)
        self._evaluators = _shared_evaluators(flag_set, self._references)
        self.left_out: list[NotExportable] = []
        """What `flags` has left out so far."""

    def flags(self, keys: Sequence[str]) -> dict[str, Any]:
        """Flags of the document: those of ``keys``, which are in the flag set, that can be said."""
        shared = frozenset(self._evaluators)
        flags, left_out = _flags(self._flag_set, keys, self._references, shared)
        self.left_out += left_out
        return flags

    def others(self) -> dict[str, Any]:
        """The members of the document beside ``flags``, in their order behind it."""
        others: dict[str, Any] = {}
        if self._evaluators:
            others["$evaluators"] = self._evaluators
        metadata = merged_metadata(self._flag_set.metadata, None)
        if metadata:
            others["metadata"] = metadata
        return others


def not_exportable(flag_set: FlagSet, keys: Iterable[str]) -> list[NotExportable]:
    """Which of ``keys`` a flagd document would leave out, and why; unknown keys are passed over."""
    references = References(flag_set.evaluators)
    shared = frozenset(_shared_evaluators(flag_set, references))
    return _flags(flag_set, [key for key in keys if key in flag_set.flags], references, shared)[1]


def _flags(
    flag_set: FlagSet, keys: Iterable[str], references: References, shared: frozenset[str]
) -> tuple[dict[str, Any], list[NotExportable]]:
    flags: dict[str, Any] = {}
    left_out: list[NotExportable] = []
    for key in keys:
        try:
            flags[key] = _flag(flag_set, key, Inliner(flag_set, references, shared=shared))
        except CannotSay as error:
            left_out.append(NotExportable(key, str(error)))
        except Exception as error:  # noqa: BLE001 - a malformed document is left out, and the others are not
            left_out.append(NotExportable(key, f"the flag cannot be read ({type(error).__name__})"))
    return flags, left_out


def _shared_evaluators(flag_set: FlagSet, references: References) -> dict[str, Any]:
    evaluators = {}
    for name in sorted(flag_set.evaluators):
        try:
            body = references.expand(flag_set.evaluators[name])
            if depth_of(body, levels_max=LOGIC_DEPTH_MAX) > LOGIC_DEPTH_MAX:
                continue
            rewritten = Inliner(flag_set, references).rewrite(body)
            if "\\" not in json.dumps([name, rewritten], allow_nan=False):
                evaluators[name] = rewritten
        except (CannotSay, RuleError, ValueError, TypeError):
            continue  # flags that name it say why they cannot be exported
    return evaluators


def _flag(flag_set: FlagSet, key: str, inliner: Inliner) -> dict[str, Any]:
    document = flag_set.flags[key]
    flag = _base(document)
    off_variant = document["off_variant"] if document["off_variant"] in flag["variants"] else None
    conditions: list[Any] | None = None
    if not is_off(flag_set, key):
        conditions = Prerequisites(flag_set, inliner).conditions(key)
    if conditions is None:
        if off_variant is None:
            flag["state"] = DISABLED
            flag["defaultVariant"] = effective_default(document)
        else:
            flag["defaultVariant"] = off_variant
        return _checked(flag)

    error = flag_set.defect(key)
    if error is not None:
        raise CannotSay(error.details)
    default = effective_default(document)
    flag["defaultVariant"] = default
    logic: Any = _logic(document, inliner)
    if conditions:
        met = conditions[0] if len(conditions) == 1 else {"and": conditions}
        if off_variant is None and default is not None:
            # Off means no value here, and only a flag without a default can have none.
            flag["defaultVariant"] = None
            logic = default if logic is None else filled(logic, default)
        logic = {"if": [met, logic, off_variant]}
    elif logic is None and not is_static(document):
        logic = ALWAYS_DEFAULT
    if logic is not None:
        flag["targeting"] = logic
    return _checked(flag)


def _base(document: Mapping[str, Any]) -> dict[str, Any]:
    variants = document["variants"]
    if not variants:
        raise CannotSay("the flag has no variants")
    for name, value in variants.items():
        if not name or not is_of_type(document["type"], value):
            raise CannotSay(f"the value of variant {name!r} is not of the flag's type")
    if document["type"] == "float":
        variants = {name: float(value) for name, value in variants.items()}
    flag = {"state": ENABLED, "variants": dict(variants), "defaultVariant": None}
    metadata = merged_metadata({}, document["metadata"])
    if metadata:
        flag["metadata"] = metadata
    return flag


def _logic(document: Mapping[str, Any], inliner: Inliner) -> dict[str, Any] | None:
    """What the flag runs, null meaning its default; None if it runs nothing."""
    targeting = document["targeting"]
    if targeting:
        rewritten = inliner.rewrite(targeting)
        if not isinstance(rewritten, dict):
            # flagd takes an object only: one segment alone was the whole rule, and nobody is in it.
            return {"if": [rewritten, "true", "false"]}
        return rewritten
    rules = usable_rules(document)
    if not rules:
        return None
    branches = [part for rule in rules for part in (rule.condition, rule.outcome)]
    return {"if": [*(inliner.rewrite(branch) for branch in branches), None]}


def _checked(flag: dict[str, Any]) -> dict[str, Any]:
    targeting = flag.get("targeting")
    if depth_of(targeting, levels_max=LOGIC_DEPTH_MAX) > LOGIC_DEPTH_MAX:
        raise CannotSay(
            f"with segments and prerequisites inline its rule has more than {LOGIC_DEPTH_MAX} levels"
        )
    if len(json.dumps(flag, allow_nan=False)) > EXPORTED_FLAG_BYTES_MAX:
        raise CannotSay(f"the flag would take more than {EXPORTED_FLAG_BYTES_MAX} bytes")
    return {name: flag[name] for name in MEMBERS if name in flag}


MEMBERS: Final = ("state", "variants", "defaultVariant", "targeting", "metadata")
"""All that flagd knows of a flag; its Python provider refuses a whole document for any other."""
