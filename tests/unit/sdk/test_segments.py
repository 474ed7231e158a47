"""Segments: who is listed, for whom a rule holds, and segments that ask for segments."""

from __future__ import annotations

from typing import Any

from tests.unit.sdk.documents import ask, ask_one, flag, segment
from vexil.sdk import FlagSet
from vexil.sdk.limits import SEGMENT_NESTING_MAX


def holds(condition: Any, context: Any, **segments: Any) -> Any:
    document = flag(rules=[{"id": "r", "if": condition, "serve": "on"}], default="off")
    answer = ask_one(document, context, segments=segments)
    return answer.error_code or answer.variant == "on"


def test_a_segment_is_asked_for_the_targeting_key() -> None:
    assert holds({"segment": "beta"}, {"targetingKey": "ada"}, beta=segment("ada"))
    assert not holds({"segment": "beta"}, {"targetingKey": "bob"}, beta=segment("ada"))
    assert not holds({"segment": "beta"}, {}, beta=segment("ada"))
    assert holds({"segment": ["beta"]}, {"targetingKey": "ada"}, beta=segment("ada"))


def test_a_segment_can_be_asked_for_any_attribute() -> None:
    condition = {"in_segment": [{"var": "account"}, "paying"]}
    assert holds(condition, {"account": "7"}, paying=segment("7"))
    assert not holds(condition, {"account": 7, "targetingKey": "7"}, paying=segment("7"))
    assert not holds(condition, {"account": ["7"]}, paying=segment("7"))


def test_an_unknown_segment_holds_for_nobody() -> None:
    conditions: list[Any] = [
        {"segment": "beta"},
        {"in_segment": ["ada", "beta"]},
        {"segment": {"var": "s"}},
        {"segment": []},
    ]
    for condition in conditions:
        assert holds(condition, {"targetingKey": "ada", "s": "alpha"}, alpha=segment("ada")) is False


def test_a_segment_holds_also_for_whom_one_of_its_rules_holds() -> None:
    vip = segment("ada", rules=({"==": [{"var": "plan"}, "gold"]}, {"segment": "staff"}))
    assert holds({"segment": "vip"}, {"targetingKey": "bob", "plan": "gold"}, vip=vip)
    assert holds({"segment": "vip"}, {"targetingKey": "eve"}, vip=vip, staff=segment("eve"))
    assert not holds({"segment": "vip"}, {"targetingKey": "bob"}, vip=vip, staff=segment("eve"))


def test_the_rules_of_a_segment_see_the_whole_context_inside_a_loop_too() -> None:
    condition = {"some": [{"var": "accounts"}, {"in_segment": [{"var": ""}, "vip"]}]}
    vip = segment("9", rules=({"==": [{"var": "plan"}, "gold"]},))
    assert holds(condition, {"accounts": ["1", "9"]}, vip=vip)
    assert holds(condition, {"accounts": ["1"], "plan": "gold"}, vip=vip)
    assert not holds(condition, {"accounts": ["1"]}, vip=vip)
    assert holds({"some": [["1"], {"segment": "vip"}]}, {"targetingKey": "9"}, vip=vip)


def test_segments_on_a_cycle_hold_for_their_members_only() -> None:
    segments = {
        "a": segment("ada", rules=({"!": {"segment": "b"}},)),
        "b": segment("bob", rules=({"!": {"segment": "a"}},)),
        "c": segment(rules=({"segment": "a"},)),
    }
    for asked, members in (("a", {"ada"}), ("b", {"bob"}), ("c", {"ada"})):
        found = {
            who
            for who in ("ada", "bob", "eve")
            if holds({"segment": asked}, {"targetingKey": who}, **segments)
        }
        assert found == members


def test_segments_ask_for_each_other_only_so_often() -> None:
    chain = {f"s{n}": segment(rules=({"segment": f"s{n + 1}"},)) for n in range(SEGMENT_NESTING_MAX + 1)}
    chain[f"s{SEGMENT_NESTING_MAX + 1}"] = segment("ada")
    assert holds({"segment": "s1"}, {"targetingKey": "ada"}, **chain) is True
    assert holds({"segment": "s0"}, {"targetingKey": "ada"}, **chain) == "PARSE_ERROR"


def test_a_replaced_segment_answers_at_once() -> None:
    document = flag(rules=[{"id": "r", "if": {"segment": "s"}, "serve": "on"}], default="off")
    flag_set = FlagSet(flags={"f": document}, segments={"s": segment("ada")})

    def variants() -> list[str]:
        return [ask(flag_set, "f", {"targetingKey": who}).variant for who in ("ada", "bob")]

    assert variants() == ["on", "off"]
    flag_set.replace_segment("s", segment("bob"))
    assert variants() == ["off", "on"]
    flag_set.replace_segment("s", segment(rules=({"==": [{"var": "targetingKey"}, "ada"]},)))
    assert variants() == ["on", "off"]
    flag_set.replace_segment("s", None)
    assert variants() == ["off", "off"]
