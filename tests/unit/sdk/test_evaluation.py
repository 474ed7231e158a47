"""What one flag answers, path by path."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.unit.sdk.documents import NOW_S, VARIANTS, ask, ask_one, flag
from vexil.sdk import ABSENT, FLAG_TYPES, FlagSet

STAFF = {"id": "staff", "if": {"ends_with": [{"var": "email"}, "@example.com"]}, "serve": "off"}
ANYONE = {"id": "all", "if": True, "serve": "on"}


def test_an_unknown_flag_is_not_found() -> None:
    answer = ask(FlagSet(), "nowhere")
    assert (answer.reason, answer.error_code, answer.value) == ("ERROR", "FLAG_NOT_FOUND", ABSENT)


@pytest.mark.parametrize("flag_type", FLAG_TYPES)
def test_a_flag_without_rules_gives_its_default(flag_type: str) -> None:
    answer = ask_one(flag(flag_type))
    assert (answer.value, answer.variant, answer.reason) == (VARIANTS[flag_type]["on"], "on", "STATIC")


def off_paths() -> list[Any]:
    def cycle(document: Any) -> FlagSet:
        return FlagSet(flags={"f": document | {"prerequisites": [{"flag": "f", "variant": "on"}]}})

    def missing(document: Any) -> FlagSet:
        return FlagSet(flags={"f": document | {"prerequisites": [{"flag": "gone", "variant": "on"}]}})

    def unmet(document: Any) -> FlagSet:
        prerequisites = [{"flag": "other", "variant": "off"}]
        return FlagSet(flags={"f": document | {"prerequisites": prerequisites}, "other": flag()})

    def failing(document: Any) -> FlagSet:
        prerequisites = [{"flag": "other", "variant": "on"}]
        other = flag(targeting={"no such operator": []})
        return FlagSet(flags={"f": document | {"prerequisites": prerequisites}, "other": other})

    return [
        pytest.param(lambda document: FlagSet(flags={"f": document | {"enabled": False}}), id="disabled"),
        pytest.param(lambda document: FlagSet(flags={"f": document | {"broken": "limit"}}), id="broken"),
        pytest.param(cycle, id="prerequisite cycle"),
        pytest.param(missing, id="prerequisite missing"),
        pytest.param(unmet, id="prerequisite not met"),
        pytest.param(failing, id="prerequisite fails"),
    ]


@pytest.mark.parametrize("logic", [{}, {"rules": [ANYONE]}, {"targeting": {"if": [True, "on", "on"]}}])
@pytest.mark.parametrize("flag_type", FLAG_TYPES)
@pytest.mark.parametrize("off", off_paths())
def test_every_off_path_of_every_type_gives_the_off_variant_or_no_value(
    off: Any, flag_type: str, logic: Any
) -> None:
    answer = ask(off(flag(flag_type, off_variant="off", **logic)), "f")
    assert (answer.value, answer.variant) == (VARIANTS[flag_type]["off"], "off")
    assert (answer.reason, answer.error_code) == ("DISABLED", None)

    answer = ask(off(flag(flag_type, **logic)), "f")
    assert (answer.value, answer.variant, answer.reason) == (ABSENT, "", "DISABLED")


def test_an_off_variant_that_cannot_be_served_gives_no_value() -> None:
    for document in (
        flag(enabled=False, off_variant="gone"),
        flag(enabled=False, off_variant="on", variants={"on": "not a boolean"}),
    ):
        answer = ask_one(document)
        assert (answer.value, answer.variant, answer.reason) == (ABSENT, "", "DISABLED")


def test_the_first_rule_that_holds_serves() -> None:
    document = flag(rules=[STAFF, ANYONE], default=None)
    assert ask_one(document, {"email": "ada@example.com"}).variant == "off"
    answer = ask_one(document, {"email": "bob@elsewhere.org"})
    assert (answer.variant, answer.reason) == ("on", "TARGETING_MATCH")


def test_a_rule_holds_by_the_truthiness_of_jsonlogic() -> None:
    values: list[Any] = [0, "", [], None, {}, "0", [0], -1]
    held = [value for value in values if _holds({"var": "x"}, value)]
    assert held == [{}, "0", [0], -1]


def _holds(condition: Any, value: Any) -> bool:
    document = flag(rules=[{"id": "r", "if": condition, "serve": "off"}])
    return ask_one(document, {"x": value}).variant == "off"


def test_arrays_and_objects_are_no_members_of_a_list_of_scalars() -> None:
    among = {"in": [{"var": "x"}, ["a", 1, None]]}
    values: list[Any] = ["a", 1, True, 1.0, None, ["a"], {}, {"a": 1}, "b", 2]
    assert [value for value in values if _holds(among, value)] == ["a", 1, True, 1.0, None]
    document = flag(rules=[{"id": "r", "if": among, "serve": "off"}])
    assert {ask_one(document, {"x": value}).error_code for value in values} == {None}


def test_when_no_rule_holds_the_default_is_given_as_such() -> None:
    assert ask_one(flag(rules=[STAFF])).reason == "DEFAULT"
    answer = ask_one(flag(rules=[STAFF], default=None))
    assert (answer.value, answer.variant, answer.reason) == (ABSENT, "", "DEFAULT")
    answer = ask_one(flag(default=None))
    assert (answer.value, answer.variant, answer.reason) == (ABSENT, "", "DEFAULT")


def test_a_rule_that_names_no_variant_is_passed_over() -> None:
    gone = {"id": "gone", "if": True, "serve": "gone"}
    split = {"id": "split", "if": True, "split": [["gone", 1], ["off", 1]]}
    document = flag(rules=[gone, split, {"id": "last", "if": True, "serve": "off"}])
    assert ask_one(document).variant == "off"


def test_a_default_that_is_no_variant_gives_way_to_the_off_variant() -> None:
    assert ask_one(flag(default="gone", off_variant="off")).variant == "off"
    assert ask_one(flag(default="gone")).value is ABSENT


def test_targeting_names_the_variant() -> None:
    def variant(targeting: Any, **context: Any) -> Any:
        document = flag(
            variants={"true": True, "false": False, "1": True}, default="true", targeting=targeting
        )
        answer = ask_one(document, context)
        return answer.variant or answer.error_code, answer.reason

    assert variant({"==": [1, 2]}) == ("false", "TARGETING_MATCH")
    assert variant({"var": "x"}, x=1) == ("1", "TARGETING_MATCH")
    assert variant({"var": "x"}) == ("true", "DEFAULT")
    assert variant({"var": "x"}, x="gone") == ("GENERAL", "ERROR")
    assert variant({"var": "x"}, x=["true"]) == ("GENERAL", "ERROR")
    assert variant({"/": [1, 0]}) == ("GENERAL", "ERROR")
    assert variant({"no such operator": 1}) == ("PARSE_ERROR", "ERROR")
    assert variant({"if": [True, "true", {"no such operator": 1}]}) == ("true", "TARGETING_MATCH")
    assert variant("true") == ("PARSE_ERROR", "ERROR")


def test_a_value_of_another_type_is_a_type_mismatch() -> None:
    for flag_type, value in (
        ("boolean", 1),
        ("string", 1),
        ("integer", 1.0),
        ("integer", True),
        ("float", True),
        ("float", float("nan")),
        ("float", 10**400),
        ("object", [1]),
        ("object", None),
    ):
        assert ask_one(flag(flag_type, variants={"on": value})).error_code == "TYPE_MISMATCH", (
            flag_type,
            value,
        )


def test_whole_numbers_of_a_float_flag_are_floats() -> None:
    assert repr(ask_one(flag("float")).value) == "10.0"
    assert repr(ask_one(flag("integer")).value) == "10"


def test_rules_see_the_time_in_seconds_and_their_flag_and_nobody_can_say_otherwise() -> None:
    def seen(name: str) -> str:
        targeting = {"cat": [{"var": f"$flagd.{name}"}]}
        answer = ask_one(flag(targeting=targeting), {"$flagd": {"flagKey": "forged", "timestamp": 1}})
        return (answer.error_details or "").split("'")[1]

    assert seen("timestamp") == str(int(NOW_S))
    assert seen("flagKey") == "f"


def test_metadata_of_the_flag_lies_over_that_of_the_set_and_holds_scalars_only() -> None:
    document = flag(metadata={"owner": "payments", "nested": {"a": 1}, "none": None})
    answer = ask_one(document, metadata={"owner": "platform", "flagSetId": "shop", "list": [1]})
    assert answer.metadata == {"owner": "payments", "flagSetId": "shop"}
    failed = ask_one(flag(targeting={"?!": 1}, metadata={"a": 1}))
    assert failed.metadata == {"a": 1}


def test_a_context_that_is_no_object_is_refused_and_none_is_empty() -> None:
    assert ask_one(flag(), [1]).error_code == "INVALID_CONTEXT"
    assert ask_one(flag(), None).variant == "on"


def test_bad_contexts_and_rules_write_no_log(caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    rules = [
        {"starts_with": [{"var": "x"}, "a"]},
        {"starts_with": ["a"]},
        {"ends_with": []},
        {"sem_ver": [{"var": "x"}, "=", "1.0.0"]},
        {"sem_ver": ["1.0.0", {"var": "x"}, "1.0.0"]},
        {"sem_ver": ["1.0.0"]},
        {"fractional": []},
        {"fractional": [["on", 1]]},
        {"fractional": [{"var": "x"}, ["on", 1]]},
        {"fractional": [{"var": "key"}, ["on", {"var": "x"}]]},
        {"fractional": [{"var": "key"}, ["on", 0]]},
        {"fractional": [{"var": "key"}, ["on", True]]},
        {"fractional": [{"var": "key"}, ["on", 2**31]]},
        {"log": "to standard output"},
    ]
    contexts = [
        {},
        {"x": "\ud800", "key": "\ud800", "targetingKey": "\ud800"},
        {"x": {"deep": [None]}, "key": [["on", 1]]},
        {"x": ["on", 2], "key": {}},
        {"x": 1.5, "key": "k"},
    ]
    with caplog.at_level(logging.DEBUG):
        for rule in rules:
            for context in contexts:
                ask_one(flag(targeting=rule), context)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
