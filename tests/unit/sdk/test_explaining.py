"""Explanations where they are at their bounds; what they say otherwise is in the tests of the node's interface."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sdk.documents import NOW_S, flag, needs
from vexil.sdk.explaining import SHOWN_CHARACTERS_MAX, Explanation, explain
from vexil.sdk.model import FlagSet

# Takes some ten steps for each item of the list.
COSTLY = {"in": ["x", {"map": [{"var": "list"}, {"cat": [{"var": ""}, "y"]}]}]}
COUNT = 30


def told(context: dict[str, Any], **flags: Any) -> Explanation:
    return explain(FlagSet(flags=flags), "f", context, now_s=NOW_S)


@pytest.mark.parametrize("last", ["on", "off"])
def test_prerequisites_that_share_a_costly_one_are_told_as_far_as_it_goes(last: str) -> None:
    costly = flag(rules=[{"id": "r", "if": COSTLY, "serve": "off"}])
    middle = {f"m{number}": flag(prerequisites=needs(("costly", "on"))) for number in range(COUNT)}
    asks = needs(*[(key, "on") for key in middle][:-1], (f"m{COUNT - 1}", last))
    flags = {"costly": costly, **middle, "f": flag(prerequisites=asks, off_variant="off")}
    found = told({"list": ["a"] * 20_000}, **flags)
    assert found.evaluation.error_code is None
    assert found.evaluation.variant == last
    steps = [step for step in found.trace if step["step"] == "prerequisite"]
    assert [step["met"] for step in steps[:-1]] == [True] * (len(steps) - 1)
    assert 1 < len(steps) < COUNT
    assert (steps[-1]["rest"], steps[-1]["met"]) == (COUNT - len(steps) + 1, last == "on")
    assert found.trace[-1]["step"] == ("default" if last == "on" else "off_variant")


def test_an_evaluation_that_takes_too_long_ends_in_its_error() -> None:
    found = told({"list": ["a"] * 100_000}, f=flag(rules=[{"id": "r", "if": COSTLY, "serve": "off"}]))
    assert found.evaluation.error_code == "GENERAL"
    assert [step["step"] for step in found.trace] == ["enabled", "rule", "error"]
    assert "steps" in found.trace[-1]["details"]


def test_what_buckets_may_be_costly_too() -> None:
    by = {"cat": [COSTLY, {"var": "targetingKey"}]}
    rule = {"id": "r", "if": True, "split": [["on", 1], ["off", 1]], "by": by}
    found = told({"list": ["a"] * 20_000, "targetingKey": "u1"}, f=flag(rules=[rule]))
    last = found.trace[-1]
    assert last["split"]["entries"][last["split"]["entry"]]["variant"] == last["gave"] != ""


def test_of_a_long_text_the_beginning_is_shown() -> None:
    rule = {"id": "r", "if": True, "split": [["on", 1]], "by": {"var": "name"}}
    found = told({"name": "n" * 5000}, f=flag(rules=[rule]))
    assert len(found.trace[-1]["split"]["by"]) == SHOWN_CHARACTERS_MAX


def test_an_unknown_flag_has_no_way() -> None:
    found = told({})
    assert found.evaluation.error_code == "FLAG_NOT_FOUND"
    assert [step["step"] for step in found.trace] == ["error"]
    assert found.decided == ()
