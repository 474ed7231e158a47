"""Rules of any size: Python's own compiler is given no more than it takes, and the work stays in proportion."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sdk.documents import ask, ask_one, flag
from vexil.sdk import FlagSet, limits
from vexil.sdk.references import depth_of

MANY = 5000


def deepest(wrap: Any, inner: Any) -> Any:
    """``inner`` wrapped as often as it can be in a condition."""
    while True:
        outer = wrap(inner)
        if depth_of(outer, levels_max=limits.LOGIC_DEPTH_MAX) >= limits.LOGIC_DEPTH_MAX:
            return inner
        inner = outer


DEEP: dict[str, Any] = {
    "not": lambda rule: {"!": [rule]},
    "and": lambda rule: {"and": [{"var": "x"}, rule]},
    "or": lambda rule: {"or": [{"var": "gone"}, rule]},
    "if": lambda rule: {"if": [{"var": "x"}, rule, "off"]},
    "condition": lambda rule: {"if": [rule, True, False]},
    "cat": lambda rule: {"cat": [rule, ""]},
    "list": lambda rule: {"merge": [[rule]]},
    "loop": lambda rule: {"some": [[1], rule]},
    "bucket": lambda rule: {"fractional": [rule, ["on", 1]]},
    "variant": lambda rule: {"fractional": [{"var": "x"}, [rule, 1]]},
}


@pytest.mark.parametrize("shape", DEEP)
def test_a_rule_is_as_deep_as_the_limit(shape: str) -> None:
    rule: Any = deepest(DEEP[shape], {"var": "x"})
    answer = ask_one(flag(targeting={"if": [rule, "on", "off"]}), {"x": 1, "targetingKey": "u"})
    assert answer.error_code is None


def test_evaluators_nest_deeper_than_a_rule() -> None:
    evaluators: Any = {
        f"e{n}": {"!": {"!": {"and": [{"$ref": f"e{n + 1}"}, {"var": "x"}]}}} for n in range(12)
    }
    evaluators["e12"] = {"var": "x"}
    for x, variant in ((1, "on"), (0, "off")):
        rule = {"if": [{"$ref": "e0"}, "on", "off"]}
        assert ask_one(flag(targeting=rule), {"x": x}, evaluators=evaluators).variant == variant


WIDE: dict[str, Any] = {
    "and": {"and": [{"!=": [{"var": "x"}, n]} for n in range(MANY)]},
    "or": {"or": [{"==": [{"var": "x"}, n]} for n in range(MANY)] + [True]},
    "or of values": {"!!": [{"===": [{"or": [{"var": f"x{n}"} for n in range(MANY)] + ["a"]}, "a"]}]},
    "in": {"!": {"in": [{"var": "x"}, [{"var": f"y{n}"} for n in range(MANY)]]}},
    "cat": {"cat": [{"var": "x"}] * MANY},
    "missing": {"missing": [f"x{n}" for n in range(MANY)]},
    "branches": {"if": [part for n in range(MANY) for part in ({"==": [{"var": "x"}, n]}, False)] + [True]},
    "inner": {"!": {"!": {"if": [part for n in range(MANY) for part in ({"var": f"y{n}"}, n)] + [True]}}},
}


@pytest.mark.parametrize("shape", WIDE)
def test_an_operation_has_thousands_of_arguments(shape: str) -> None:
    answer = ask_one(flag(targeting={"if": [WIDE[shape], "on", "off"]}), {"x": "user"})
    assert answer.variant == "on"


def test_targeting_and_rules_have_thousands_of_branches() -> None:
    branches = [part for n in range(MANY) for part in ({"==": [{"var": "x"}, n]}, "off")]
    targeting = flag(targeting={"if": [*branches, "on"]})
    rules = [{"id": f"r{n}", "if": {"==": [{"var": "x"}, n]}, "serve": "off"} for n in range(MANY)]
    for document in (targeting, flag(rules=rules)):
        assert ask_one(document, {"x": MANY - 1}).variant == "off"
        assert ask_one(document, {"x": MANY}).variant == "on"


def test_a_split_has_thousands_of_entries() -> None:
    variants = {f"v{n}": bool(n % 2) for n in range(MANY)}
    rules = [{"id": "r", "if": True, "split": [[name, 1] for name in variants]}]
    flag_set = FlagSet(flags={"f": flag(variants=variants, default=None, rules=rules)})
    found = {ask(flag_set, "f", {"targetingKey": f"u{n}"}).variant for n in range(50)}
    assert len(found) > 40
