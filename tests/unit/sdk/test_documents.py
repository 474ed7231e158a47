"""The wire form of a flag set: there and back, and whatever else arrives."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.property.flag_documents import ANY_JSON
from tests.unit.sdk.documents import ask, flag, segment
from vexil.sdk import FlagSet, to_flagd
from vexil.sdk.documents import UNREADABLE, flag_from, flag_set_document, flag_set_from


def test_a_flag_set_comes_back_as_it_was() -> None:
    rules: Any = [{"id": "r", "if": {"segment": "s"}, "split": [["on", 1], ["off", 1]]}]
    flag_set = FlagSet(
        flags={"f": flag(rules=rules, metadata={"a": 1}), "g": flag("float", broken="over a limit")},
        segments={"s": segment("eve", "ada", rules=({"var": "x"},))},
        evaluators={"e": {"var": "x"}},
        metadata={"team": "x"},
        bucketing="v2",
        version="7",
    )
    document = flag_set_document(flag_set)
    assert document["segments"]["s"]["members"] == ["ada", "eve"]
    back = flag_set_from(json.loads(json.dumps(document)))
    assert flag_set_document(back) == document
    assert back.version == "7"
    assert dict(back.flags) == dict(flag_set.flags)
    assert ask(back, "f", {"targetingKey": "ada"}) == ask(flag_set, "f", {"targetingKey": "ada"})
    assert to_flagd(back) == to_flagd(flag_set)


def test_a_flag_that_cannot_be_read_is_broken_and_the_others_are_not() -> None:
    bad: list[Any] = [
        None,
        7,
        "on",
        [],
        flag() | {"type": "colour"},
        flag() | {"type": ["boolean"]},
        flag() | {"enabled": 1},
        flag() | {"variants": []},
        flag() | {"rules": {}},
        flag() | {"targeting": []},
        flag() | {"prerequisites": "a"},
        flag() | {"default": 1},
    ]
    flags = {f"bad{n}": document for n, document in enumerate(bad)} | {"good": flag()}
    flag_set = flag_set_from({"version": "1", "flags": flags})
    for n in range(len(bad)):
        assert flag_set.flags[f"bad{n}"]["broken"] == UNREADABLE
        assert ask(flag_set, f"bad{n}").reason == "DISABLED"
    assert ask(flag_set, "good").variant == "on"


def test_members_of_a_newer_version_are_left_out() -> None:
    assert flag_from(flag() | {"colour": "blue"}) == flag()


@given(
    document=ANY_JSON
    | st.fixed_dictionaries(
        {},
        optional={
            name: ANY_JSON | st.dictionaries(st.text(max_size=2), ANY_JSON, max_size=2)
            for name in ("version", "bucketing", "flags", "segments", "evaluators", "metadata")
        },
    )
)
def test_anything_is_read(document: Any) -> None:
    flag_set = flag_set_from(document)
    for key in flag_set.flags:
        ask(flag_set, key, {"targetingKey": "u"})
    assert flag_set_document(flag_set)["flags"].keys() == flag_set.flags.keys()
