"""OpenFeature's evaluation context as rules see it."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from openfeature.evaluation_context import EvaluationContext

from vexil.sdk.limits import NESTING_MAX
from vexil.sdk.openfeature.contexts import context_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_the_targeting_key_gets_the_name_that_rules_know() -> None:
    asked = EvaluationContext("u1", {"plan": "gold", "age": 7})
    assert context_of(asked) == {"plan": "gold", "age": 7, "targetingKey": "u1"}


def test_a_targeting_key_of_its_own_wins_over_an_attribute() -> None:
    assert context_of(EvaluationContext("u1", {"targetingKey": "u2"})) == {"targetingKey": "u1"}
    assert context_of(EvaluationContext(None, {"targetingKey": "u2"})) == {"targetingKey": "u2"}


def test_an_empty_targeting_key_is_one() -> None:
    assert context_of(EvaluationContext("")) == {"targetingKey": ""}


def test_nobody_and_nothing() -> None:
    assert context_of(None) is None
    assert context_of(EvaluationContext()) == {}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2026-11-21T12:00:00Z"),
        (NOON.replace(microsecond=250_000), "2026-11-21T12:00:00.250000Z"),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), "2026-11-21T12:00:00Z"),
        (NOON.replace(tzinfo=None), "2026-11-21T12:00:00Z"),
        (date(2026, 11, 21), "2026-11-21"),
        # Not in any year of UTC.
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "0001-01-01T00:00:00+01:00"),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "9999-12-31T23:59:59.999999-01:00"),
    ],
)
def test_a_moment_becomes_a_text_wherever_it_stands(moment: Any, text: str) -> None:
    attributes = {"at": moment, "deep": {"list": [moment, {"at": moment}]}}
    asked = EvaluationContext("u1", attributes)
    before = deepcopy(asked)
    assert context_of(asked) == {
        "at": text,
        "deep": {"list": [text, {"at": text}]},
        "targetingKey": "u1",
    }
    assert asked == before, "the caller's context is his"


def test_every_sequence_becomes_an_array() -> None:
    found = context_of(EvaluationContext(None, {"groups": ("a", ("b", "c"))}))
    assert found == {"groups": ["a", ["b", "c"]]}


def test_what_has_no_meaning_in_json_stays_as_it_is() -> None:
    thing = object()
    attributes: dict[str, Any] = {"thing": thing, "number": float("inf")}
    found = context_of(EvaluationContext(None, attributes))
    assert found == {"thing": thing, "number": float("inf")}


def test_a_context_without_end_is_taken_as_far_as_rules_look() -> None:
    endless: list[Any] = []
    endless.append(endless)
    found = context_of(EvaluationContext("u1", {"endless": endless}))
    assert found is not None
    level, value = 0, found["endless"]
    while value is not endless:
        level, value = level + 1, value[0]
    assert level < NESTING_MAX
