"""The flag file that people try Vexil with."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.sdk.documents import ask
from vexil.sdk import FLAG_TYPES, from_flagd

EXAMPLE = Path(__file__).parents[3] / "deploy" / "examples" / "flags.json"


def test_the_example_has_nothing_wrong_in_it_and_shows_every_type() -> None:
    imported = from_flagd(json.loads(EXAMPLE.read_text()))
    assert (imported.warnings, imported.errors) == ((), ())
    assert {flag.type for flag in imported.flags} == set(FLAG_TYPES)


def test_the_example_answers_as_a_reader_expects() -> None:
    flag_set = from_flagd(json.loads(EXAMPLE.read_text())).flag_set()
    staff = {"targetingKey": "ada", "email": "ada@shop.example", "country": "PL", "app": {"version": "v5.2"}}
    answers = {key: ask(flag_set, key, staff) for key in flag_set.flags}
    assert all(answer.error_code is None for answer in answers.values())
    assert answers["checkout.express"].value is True
    assert answers["delivery.free-from"].value == 29.9
    assert answers["app.payment-sheet"].value == "native"
    assert answers["reviews.summaries"].reason == "DISABLED"
    assert answers["support.banner"].value == ""
    assert answers["search.ranking"].metadata["flagSetId"] == "shop"
