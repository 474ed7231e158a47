"""The suite that every JsonLogic implementation is measured by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance import load, needs_data
from vexil.sdk import FlagSet
from vexil.sdk.logic import Walk

pytestmark = needs_data

CASES = [case for case in load("json-logic", "compatible.json") or [] if isinstance(case, dict)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["description"])[:60])
def test_compatible(case: dict[str, Any]) -> None:
    data: Any = case.get("data")  # anything, not only an object
    result = Walk(FlagSet()).run(case["rule"], "f", data)
    assert json.dumps(result) == json.dumps(case["result"]) or result == case["result"]
