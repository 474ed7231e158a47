"""A rule as an author sends it: looked through with the paths of its mistakes, and brought into the form of its cell.

Whether a rule is sound is said by `vexil.crdt.validity`, the code that readers use too; here the mistakes get names
and places. A cell holds the body without its id and without members that say nothing.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final, NamedTuple

from vexil.crdt.conflicts import DANGLING_VARIANT, LIMIT_LOGIC_DEPTH, LIMIT_VALUE_DEPTH
from vexil.crdt.limits import LOGIC_DEPTH_MAX, SPLIT_WEIGHT_SUM_MAX, VALUE_DEPTH_MAX
from vexil.crdt.validity import logic_defect, rule_defect, segment_rule_defect
from vexil.node.authoring.json_data import Mistakes, pointer
from vexil.node.authoring.limits import TEXT_BYTES_MAX
from vexil.node.errors import LimitExceeded

_FLAG_RULE: Final = frozenset(("id", "description", "if", "serve", "split", "by"))
_SEGMENT_RULE: Final = frozenset(("id", "description", "if"))


class SentRule(NamedTuple):
    """A rule that an author has sent; ``id`` is None if it came without one."""

    id: str | None
    body: dict[str, Any]
    path: str


def flag_rule(value: object, path: str, mistakes: Mistakes) -> SentRule:
    """A flag's rule: ``if``, and either ``serve`` or ``split`` (with or without ``by``).

    Whether its variants are there is not looked at. Raises LimitExceeded for its depth.
    """
    if not isinstance(value, dict):
        mistakes.add(path, "must be an object")
        return SentRule(None, {}, path)
    sent, body = _members(value, path, mistakes, _FLAG_RULE)
    if ("serve" in body) == ("split" in body):
        mistakes.add(path, "must have either serve or split")
    elif "serve" in body:
        mistakes.text(pointer(path, "serve"), body["serve"], empty=True)
        if "by" in body:
            mistakes.add(pointer(path, "by"), "goes with split only")
    else:
        _check_split(body["split"], pointer(path, "split"), mistakes)
    refuse_depth(body.get("by"))
    if not mistakes and rule_defect(body, _Everything()) is not None:
        mistakes.add(path, "is not a rule that can be evaluated")
    return SentRule(sent, body, path)


def segment_rule(value: object, path: str, mistakes: Mistakes) -> SentRule:
    """A segment's rule: ``if``. Raises LimitExceeded for its depth."""
    if not isinstance(value, dict):
        mistakes.add(path, "must be an object")
        return SentRule(None, {}, path)
    sent, body = _members(value, path, mistakes, _SEGMENT_RULE)
    if not mistakes and segment_rule_defect(body) is not None:
        mistakes.add(path, "is not a rule that can be evaluated")
    return SentRule(sent, body, path)


def flag_rule_is_shown(body: object) -> bool:
    """Whether readers show a stored flag rule to its author; what is no rule at all they only report."""
    return rule_defect(body, _Everything()) is None


def segment_rule_is_shown(body: object) -> bool:
    """The same of a segment's rule."""
    if segment_rule_defect(body) is not None or not isinstance(body, dict):
        return False
    return isinstance(body.get("description", ""), str)


def of_newer_versions(stored: object) -> dict[str, Any]:
    """Members of a stored rule that this version does not know: an edit of the rule keeps them."""
    return {n: v for n, v in stored.items() if n not in _FLAG_RULE} if isinstance(stored, dict) else {}


def dangling(body: dict[str, Any], variants: Container[str]) -> bool:
    """Whether the rule serves a variant that is not among ``variants``."""
    return rule_defect(body, variants) == DANGLING_VARIANT


def variants_of(body: object) -> set[str]:
    """The variants that a rule serves; total, also for a body that is no rule."""
    if not isinstance(body, dict):
        return set()
    split = body.get("split")
    entries = split if isinstance(split, list) else []
    named = [body.get("serve"), *(entry[0] for entry in entries if isinstance(entry, list) and entry)]
    return {name for name in named if isinstance(name, str)}


def refuse_depth(logic: object) -> None:
    """Raise LimitExceeded if ``logic`` is nested too deep to be evaluated."""
    defect = logic_defect(logic)
    if defect == LIMIT_LOGIC_DEPTH:
        raise LimitExceeded(
            defect.removeprefix("limit."), f"JsonLogic is nested deeper than {LOGIC_DEPTH_MAX}"
        )


def refuse_value_depth(defect: str | None) -> None:
    """Raise LimitExceeded if ``defect`` says that a variant's value is nested too deep."""
    if defect == LIMIT_VALUE_DEPTH:
        raise LimitExceeded(defect.removeprefix("limit."), f"a value is nested deeper than {VALUE_DEPTH_MAX}")


def _members(
    rule: dict[str, Any], path: str, mistakes: Mistakes, allowed: frozenset[str]
) -> tuple[str | None, dict[str, Any]]:
    mistakes.only(path, rule, allowed)
    sent = None
    if rule.get("id") is not None:
        sent = mistakes.name(pointer(path, "id"), rule["id"])
    # An `if` may be null, which never holds; any other null says the same as leaving the member out.
    body = {n: rule[n] for n in rule if n in allowed and n != "id" and (rule[n] is not None or n == "if")}
    if "description" in body:
        body["description"] = mistakes.text(
            pointer(path, "description"), body["description"], bytes_max=TEXT_BYTES_MAX, empty=True
        )
        if not body["description"]:
            del body["description"]
    if "if" not in body:
        mistakes.add(pointer(path, "if"), "is missing")
    refuse_depth(body.get("if"))
    return sent, body


def _check_split(split: object, path: str, mistakes: Mistakes) -> None:
    entries = mistakes.array(path, split)
    if isinstance(split, list) and not split:
        mistakes.add(path, "must not be empty")
    total = 0
    for index, entry in enumerate(entries):
        at = pointer(path, index)
        if not isinstance(entry, list) or len(entry) != 2:
            mistakes.add(at, "must be [variant, weight]")
            continue
        mistakes.text(pointer(at, 0), entry[0], empty=True)
        if type(entry[1]) is not int or entry[1] < 0:
            mistakes.add(pointer(at, 1), "must be a whole number, not negative")
        else:
            total += entry[1]
    if entries and not mistakes and not 0 < total <= SPLIT_WEIGHT_SUM_MAX:
        mistakes.add(path, f"weights must add up to something between 1 and {SPLIT_WEIGHT_SUM_MAX}")


class _Everything:
    """Contains whatever it is asked for."""

    def __contains__(self, item: object) -> bool:
        return True
