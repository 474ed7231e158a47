"""Evaluators that flags share by name."""

from __future__ import annotations

from typing import Any

from tests.unit.sdk.documents import ask, ask_one, flag
from vexil.sdk import FlagSet

ADULT = {">=": [{"var": "age"}, 18]}


def answer(targeting: Any, evaluators: Any, **context: Any) -> str:
    found = ask_one(flag(targeting=targeting), context, evaluators=evaluators)
    return found.error_code or found.variant


def test_an_evaluator_stands_wherever_it_is_named() -> None:
    targeting = {"if": [{"$ref": "adult"}, "on", "off"]}
    assert answer(targeting, {"adult": ADULT}, age=20) == "on"
    assert answer(targeting, {"adult": ADULT}, age=2) == "off"
    assert (
        answer({"$ref": "all"}, {"all": {"if": [{"$ref": "adult"}, "on", "off"]}, "adult": ADULT}, age=20)
        == "on"
    )


def test_rules_conditions_and_splits_can_name_evaluators() -> None:
    rules = [{"id": "r", "if": {"!": {"$ref": "adult"}}, "split": [["off", 1]], "by": {"$ref": "who"}}]
    evaluators = {"adult": ADULT, "who": {"var": "id"}}
    assert ask_one(flag(rules=rules), {"age": 2}, evaluators=evaluators).variant == "off"
    assert ask_one(flag(rules=rules), {"age": 20}, evaluators=evaluators).variant == "on"


def test_a_name_that_nobody_has_fails_where_it_is_reached() -> None:
    assert answer({"if": [{"$ref": "gone"}, "on"]}, {}) == "PARSE_ERROR"
    assert answer({"if": [False, {"$ref": "gone"}, "off"]}, {}) == "off"


def test_evaluators_in_a_circle_are_a_parse_error() -> None:
    evaluators = {"a": {"!": {"$ref": "b"}}, "b": {"$ref": "a"}, "c": {"$ref": "c"}}
    for name in evaluators:
        document = flag(targeting={"if": [{"$ref": name}, "on", "off"]})
        found = ask_one(document, evaluators=evaluators)
        assert found.error_code == "PARSE_ERROR"
        assert "refers to itself" in (found.error_details or "")


def test_a_long_chain_of_evaluators_is_a_parse_error_and_not_a_crash() -> None:
    evaluators: dict[str, Any] = {f"e{n}": {"$ref": f"e{n + 1}"} for n in range(5000)}
    evaluators["e5000"] = True
    assert answer({"if": [{"$ref": "e0"}, "on", "off"]}, evaluators) == "PARSE_ERROR"
    assert answer({"if": [{"$ref": "e4990"}, "on", "off"]}, evaluators) == "on"


def test_evaluators_that_double_cost_steps_and_not_memory() -> None:
    evaluators: dict[str, Any] = {f"e{n}": {"and": [{"$ref": f"e{n + 1}"}] * 2} for n in range(30)}
    evaluators["e30"] = True
    assert answer({"if": [{"$ref": "e0"}, "on", "off"]}, evaluators) == "GENERAL"
    evaluators["e30"] = False
    assert answer({"if": [{"$ref": "e0"}, "on", "off"]}, evaluators) == "off"


def test_a_rule_that_is_too_deep_is_a_parse_error() -> None:
    def nested(levels: int) -> Any:
        rule: Any = {"var": "x"}
        for _ in range(levels - 1):
            rule = {"!": [rule]}
        return rule

    assert answer({"if": [nested(31), "on", "off"]}, {}) == "off"
    assert answer({"if": [nested(32), "on", "off"]}, {}) == "PARSE_ERROR"
    assert answer({"if": [nested(5000), "on", "off"]}, {}) == "PARSE_ERROR"
    assert answer({"if": [{"$ref": "deep"}, "on", "off"]}, {"deep": nested(33)}) == "PARSE_ERROR"


def test_new_evaluators_hold_at_once() -> None:
    flag_set = FlagSet(
        flags={"f": flag(targeting={"if": [{"$ref": "e"}, "on", "off"]})}, evaluators={"e": True}
    )
    assert ask(flag_set, "f").variant == "on"
    flag_set.set_evaluators({"e": False})
    assert ask(flag_set, "f").variant == "off"
