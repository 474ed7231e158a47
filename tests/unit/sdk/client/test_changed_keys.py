"""Which flags are named after a change: those that may answer otherwise, and no others."""

from __future__ import annotations

from typing import Any

from tests.unit.sdk.client.nodes import on
from tests.unit.sdk.documents import flag, needs, segment
from vexil.sdk import FlagSet
from vexil.sdk.client.changed_keys import changed_keys
from vexil.sdk.documents import flag_set_document, flag_set_from


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Of sets that hold documents; it must be the same of sets that came over the wire."""
    keys = changed_keys(FlagSet(**before), FlagSet(**after))
    packed = [flag_set_from(flag_set_document(FlagSet(**parts))) for parts in (before, after)]
    assert changed_keys(*packed) == keys
    return set(keys)


def test_flags_that_come_go_and_change() -> None:
    before = {"flags": {"same": on(), "gone": on(), "other": on()}}
    after = {"flags": {"same": on(), "new": on(), "other": on(False)}}
    assert changed(before, after) == {"gone", "new", "other"}
    assert changed(after, after) == set()


def test_flags_that_lean_on_one_that_changes() -> None:
    chain = {
        "b": flag(prerequisites=needs(("a", "on"))),
        "c": flag(prerequisites=needs(("b", "on"))),
        "d": on(),
    }
    assert changed({"flags": {"a": on(), **chain}}, {"flags": {"a": on(False), **chain}}) == {"a", "b", "c"}


def test_flags_that_name_a_segment_that_changes() -> None:
    flags = {
        "short": flag(rules=[{"id": "r", "if": {"segment": "beta"}, "serve": "on"}]),
        "long": flag(targeting={"if": [{"in_segment": [{"var": "x"}, "beta"]}, "on", "off"]}),
        "by-other": flag(rules=[{"id": "r", "if": {"!": [{"segment": ["outer"]}]}, "serve": "on"}]),
        "none": flag(rules=[{"id": "r", "if": {"==": ["beta", "segment"]}, "serve": "on"}]),
    }
    outer = segment(rules=({"segment": "beta"},))
    before = {"flags": flags, "segments": {"beta": segment("u1"), "outer": outer, "far": segment()}}
    after = {"flags": flags, "segments": {"beta": segment("u2"), "outer": outer, "far": segment()}}
    assert changed(before, after) == {"short", "long", "by-other"}
    after["segments"] = {**before["segments"], "far": segment("x")}
    assert changed(before, after) == set()


def test_what_all_share_changes_all() -> None:
    flags = {"a": on(), "b": on()}
    assert changed({"flags": flags}, {"flags": flags, "metadata": {"x": 1}}) == {"a", "b"}
    assert changed({"flags": flags}, {"flags": flags, "bucketing": "v2"}) == {"a", "b"}
    shared = {"flags": flags, "evaluators": {"e": {"segment": "beta"}}}
    beta = {"beta": segment("u")}
    assert changed({**shared, "segments": beta}, {**shared, "segments": {}}) == {"a", "b"}


def test_documents_of_any_shape_are_compared() -> None:
    odd: dict[str, Any] = {"a": None, "b": {"prerequisites": [1, {"flag": []}], "rules": 7}, "c": "x"}
    assert changed({"flags": odd}, {"flags": {**odd, "d": on()}}) == {"d"}
