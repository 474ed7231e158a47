"""Splits: flagd's fractional, what it takes, and what a caller must not be able to do to it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import mmh3
import pytest

from tests.unit.sdk.documents import Reference, ask_one, flag

NAMES = {"one": "1", "two": "2", "three": "3"}
SPLIT = [["one", 1], ["two", 1], ["three", 2]]


def split(by: Any = None, entries: Any = None) -> Any:
    rule = {"id": "r", "if": True, "split": SPLIT if entries is None else entries}
    if by is not None:
        rule["by"] = by
    return flag("string", variants=NAMES, default=None, rules=[rule])


def by_reference(targeting: Any, context: Any) -> Any:
    document = {"flags": {"f": {"state": "ENABLED", "variants": NAMES, "targeting": targeting}}}
    return Reference(document).details("f", context)[1]


PEOPLE = [{"targetingKey": f"user-{n}", "account": f"account-{n % 50}"} for n in range(300)]


@pytest.mark.parametrize("by", [None, {"var": "targetingKey"}])
def test_a_split_is_flagds_shorthand_of_the_targeting_key(by: Any) -> None:
    variants = [ask_one(split(by), person).variant for person in PEOPLE]
    assert variants == [by_reference({"fractional": SPLIT}, person) for person in PEOPLE]
    assert set(variants) == set(NAMES)


def test_a_split_by_something_else_is_salted_with_the_flag() -> None:
    by = {"var": "account"}
    targeting = {"fractional": [{"cat": [{"var": "$flagd.flagKey"}, by]}, *SPLIT]}
    variants = [ask_one(split(by), person).variant for person in PEOPLE]
    assert variants == [by_reference(targeting, person) for person in PEOPLE]
    assert len({(person["account"], variant) for person, variant in zip(PEOPLE, variants, strict=True)}) == 50


def test_a_split_keeps_its_weights() -> None:
    counts = Counter(ask_one(split(), {"targetingKey": f"u{n}"}).variant for n in range(4000))
    assert counts["three"] == pytest.approx(2000, rel=0.1)
    assert counts["one"] == pytest.approx(1000, rel=0.1)


def test_who_has_no_targeting_key_gets_the_default() -> None:
    for context in ({}, {"targetingKey": ""}, {"targetingKey": 7}, {"targetingKey": "\ud800"}):
        answer = ask_one(split() | {"default": "two"}, context)
        assert (answer.variant, answer.reason) == ("two", "DEFAULT")


@pytest.mark.parametrize(
    "entries",
    [
        [["one", -1], ["two", 2]],
        [["one", 1.5]],
        [["one"]],
        [["one", True]],
        ["one"],
        [],
        "one",
        [[["one"], 1]],
    ],
)
def test_a_malformed_split_does_not_serve(entries: Any) -> None:
    assert ask_one(split(entries=entries) | {"default": "two"}, {"targetingKey": "u"}).variant == "two"


ATTACK = {"targetingKey": "u", "bucket": ["one", 2_147_483_000]}


def test_a_callers_array_never_becomes_an_entry_of_the_distribution() -> None:
    targeting = {"fractional": [{"var": "bucket"}, ["two", 1], ["three", 1]]}
    document = flag("string", variants=NAMES, default=None, targeting=targeting)
    # The reference implementation lets the caller in, which is why the answer here has to differ.
    assert by_reference(targeting, ATTACK) == "one"
    assert (ask_one(document, ATTACK).variant, ask_one(document, ATTACK).reason) == ("", "DEFAULT")
    assert ask_one(document, {"bucket": "b"}).variant in {"two", "three"}


def test_a_callers_array_is_no_entry_in_any_other_place_either() -> None:
    for entries in ([{"var": "bucket"}], [["two", 1], {"var": "bucket"}]):
        for first in ([{"var": "targetingKey"}], []):
            if not first and not isinstance(entries[0], list):
                continue
            document = flag(
                "string", variants=NAMES, default=None, targeting={"fractional": [*first, *entries]}
            )
            assert ask_one(document, ATTACK).variant == ""


def test_an_evaluator_can_hold_the_distribution() -> None:
    # A reference is a part of how the rule is written, not of what the caller sends.
    document = flag(
        "string",
        variants=NAMES,
        default=None,
        targeting={"fractional": [{"$ref": "first"}, ["two", 1], ["three", 2]]},
    )
    answers = [ask_one(document, person, evaluators={"first": ["one", 1]}).variant for person in PEOPLE]
    assert answers == [ask_one(split(), person).variant for person in PEOPLE]


def test_the_second_generation_hashes_texts_one_after_the_other() -> None:
    def answer(targeting: Any, **context: Any) -> str:
        document = flag("string", variants=NAMES, default=None, targeting=targeting)
        return ask_one(document, context, bucketing="v2").variant

    def expected(text: str) -> str:
        bucket = mmh3.hash(text, signed=False) * 4 >> 32
        return ["one", "two", "three", "three"][bucket]

    by_account = {"fractional": [{"var": "account"}, *SPLIT]}
    for n in range(100):
        who = f"user-{n}"
        assert answer({"fractional": SPLIT}, targetingKey=who) == expected("f" + who)
        assert answer(by_account, account=who) == expected(who)
    assert {answer(by_account, account=account) for account in (None, "", 7, ["one", 1], {"a": 1})} == {""}
    assert {answer({"fractional": SPLIT}, targetingKey=who) for who in (None, "", 7, "\ud800")} == {""}
