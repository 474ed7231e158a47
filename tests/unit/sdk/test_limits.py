"""Limits of evaluation and export that no other test is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.sdk.documents import ask, ask_one, flag, needs, segment
from vexil.sdk import FlagSet, buckets, budget, flagd_logic, references
from vexil.sdk.flagd import to_flagd
from vexil.sdk.limits import ERROR_DETAILS_CHARACTERS_MAX, EXPORT_INLINE_MAX


def left_out(flag_set: FlagSet) -> dict[str, str]:
    """Flags that flagd cannot be told, and why."""
    return {problem.key: problem.reason for problem in to_flagd(flag_set)[1]}


def test_a_flag_with_as_many_inline_prerequisites_as_the_limit_is_exported_and_not_one_more() -> None:
    flags: Any = {f"p{n}": flag() for n in range(EXPORT_INLINE_MAX + 1)}
    names = [(key, "on") for key in flags]
    flags["within"] = flag(prerequisites=needs(*names[:-1]))
    flags["over"] = flag(prerequisites=needs(*names))
    missing = left_out(FlagSet(flags=flags))
    assert list(missing) == ["over"]
    assert str(EXPORT_INLINE_MAX) in missing["over"]
    # Here both are answered.
    assert [ask(FlagSet(flags=flags), key).variant for key in ("within", "over")] == ["on", "on"]


def test_a_flag_whose_segments_would_be_too_large_is_left_out_and_the_others_are_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flagd_logic, "EXPORTED_FLAG_BYTES_MAX", 1_000)
    flags: Any = {
        name: flag(rules=[{"id": "r", "if": {"segment": name}, "serve": "off"}])
        for name in ("within", "over")
    }
    segments = {
        "within": segment(*(f"user-{n:03}" for n in range(125))),
        "over": segment(*(f"user-{n:03}" for n in range(126))),
    }
    flag_set = FlagSet(flags=flags, segments=segments)
    assert list(left_out(flag_set)) == ["over"]
    assert ask(flag_set, "over", {"targetingKey": "user-125"}).variant == "off"


def test_an_evaluation_takes_as_many_steps_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = {"if": [{"none": [{"var": "items"}, {"==": [{"var": ""}, 1]}]}, "on", "off"]}
    asked = flag(targeting=rule)
    answers = []
    for steps in (20, 2_000):
        monkeypatch.setattr(budget, "EVALUATION_STEPS_MAX", steps)
        answers.append(ask_one(asked, {"items": [0] * 100}))
    assert [answer.error_code for answer in answers] == ["GENERAL", None]
    assert answers[1].variant == "on"


def test_the_words_of_an_error_are_cut() -> None:
    name = "x" * 500
    answer = ask_one(flag(targeting={"if": [{"$ref": name}, "on"]}), evaluators={name: {"$ref": name}})
    assert answer.error_code == "PARSE_ERROR"
    assert len(answer.error_details or "") == ERROR_DETAILS_CHARACTERS_MAX


def longest_chain() -> int:
    """Of how many evaluators, each naming the next, the first can still be used."""
    evaluators: Any = {f"e{n}": {"$ref": f"e{n - 1}"} for n in range(1, 100)}
    evaluators["e0"] = True
    flags = {f"f{n}": flag(targeting={"if": [{"$ref": f"e{n}"}, "on", "off"]}) for n in range(100)}
    flag_set = FlagSet(flags=flags, evaluators=evaluators)
    answers = [ask(flag_set, f"f{n}") for n in range(100)]
    usable = [answer.error_code is None for answer in answers]
    assert usable == sorted(usable, reverse=True)
    assert {answer.error_code for answer in answers} == {None, "PARSE_ERROR"}
    return sum(usable)


def test_evaluators_nest_as_deep_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for levels in (20, 30):
        monkeypatch.setattr(references, "NESTING_MAX", levels)
        found.append(longest_chain())
    assert 0 < found[0] < 20
    assert found[1] == found[0] + 10


def test_what_is_nested_beyond_the_limit_is_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "NESTING_MAX", 3)
    split = flag(targeting={"fractional": [{"var": "who"}, ["on", 1], ["off", 1]]})

    def variants(nested: Callable[[int], object]) -> set[str]:
        return {ask_one(split, {"who": nested(n)}).variant for n in range(30)}

    assert variants(lambda n: {"a": {"b": {"c": n}}}) == {"on", "off"}
    assert variants(lambda n: {"a": {"b": {"c": {"d": n}}}}) == {ask_one(split, {}).variant}
