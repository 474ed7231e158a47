"""Rules that would take for ever, or all the memory, end in an error."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sdk.documents import ask, ask_one, flag, needs
from vexil.sdk import FlagSet

ITEMS = {"var": "items"}
MANY = {"items": list(range(2000)), "rows": [[0] * 2000] * 2000}


def doubling(step: Any, start: Any) -> Any:
    return {"reduce": [ITEMS, step, start]}


AGAIN = [{"var": "accumulator"}, {"var": "accumulator"}]


@pytest.mark.parametrize(
    "rule",
    [
        {"map": [[0] * 2000, {"map": [[0] * 2000, 1]}]},
        {"none": [ITEMS, {"some": [list(range(2000)), {"==": [1, 2]}]}]},
        {"map": [{"var": "rows"}, {"map": [{"var": ""}, 1]}]},
        {"cat": doubling({"cat": AGAIN}, "x")},
        {"merge": doubling({"merge": AGAIN}, [1])},
        {"cat": doubling(AGAIN, "x")},
        {"===": [doubling(AGAIN, "x"), doubling(AGAIN, "y")]},
        {"fractional": [{"in": [[1], doubling(AGAIN, "x")]}, ["on", 1]]},
        {"cat": doubling({"*": AGAIN}, 3)},
    ],
    ids=["map", "some", "rows", "cat", "merge", "cat of lists", "compare", "bucket", "multiply"],
)
def test_a_rule_that_grows_without_end_is_stopped(rule: Any) -> None:
    answer = ask_one(flag(targeting=rule), MANY)
    assert (answer.error_code, "steps" in (answer.error_details or "")) == ("GENERAL", True)


def test_a_prerequisite_that_spends_the_budget_is_told_and_not_taken_for_unmet() -> None:
    endless = {"map": [[0] * 2000, {"map": [[0] * 2000, 1]}]}
    flags = {"a": flag(prerequisites=needs(("b", "on"))), "b": flag(targeting=endless)}
    answer = ask(FlagSet(flags=flags), "a")
    assert (answer.key, answer.error_code) == ("a", "GENERAL")


def test_the_largest_rules_that_can_be_written_are_within_the_budget() -> None:
    members = [f"user-{n}" for n in range(5000)]
    rules = [{"id": "r", "if": {"in": [{"var": "targetingKey"}, members]}, "serve": "off"}]
    assert ask_one(flag(rules=rules), {"targetingKey": "user-4999"}).variant == "off"
    rules = [{"id": f"r{n}", "if": {"==": [{"var": "n"}, n]}, "serve": "off"} for n in range(200)]
    assert ask_one(flag(rules=rules), {"n": 199}).variant == "off"
