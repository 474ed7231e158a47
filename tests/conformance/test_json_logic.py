"""The suite that every JsonLogic implementation is measured by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance import load, needs_data
from vexil.sdk import FlagSet
from vexil.sdk.logic import run

pytestmark = needs_data

CASES = [case for case in load("json-logic", "compatible.json") or [] if isinstance(case, dict)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["description"])[:60])
def test_compatible(case: dict[str, Any]) -> None:
    data: Any = case.get("data")  # anything, not only an object
    # As for one item of a list: there anything can be the data that a rule sees.
    results = run(FlagSet(), {"map": [{"var": "items"}, case["rule"]]}, "f", {"items": [data]}, now_s=0)
    assert as_expected(results[0], case)
    if isinstance(data, dict) and '"var": ""' not in json.dumps(case["rule"]):
        assert as_expected(run(FlagSet(), case["rule"], "f", data, now_s=0), case)


def as_expected(result: Any, case: dict[str, Any]) -> bool:
    return json.dumps(result) == json.dumps(case["result"]) or result == case["result"]
