"""A patch makes another flag set; whoever evaluates goes on with the one that he holds."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from tests.unit.sdk.documents import ask, flag, needs, segment
from vexil.sdk import FlagSet

IN_S = {"if": [{"segment": "s"}, "on", "off"]}


def before() -> FlagSet:
    return FlagSet(
        flags={
            "plain": flag(),
            "rules": flag(targeting={"if": [{"$ref": "e"}, "on", "off"]}),
            "in_s": flag(targeting=IN_S),
            "needy": flag(prerequisites=needs(("in_s", "on")), off_variant="off"),
            "gone": flag(),
        },
        segments={"s": segment("ada"), "t": segment(rules=({"segment": "s"},))},
        evaluators={"e": {"var": "vip"}},
        metadata={"team": "x"},
        version="1",
    )


def variants(flag_set: FlagSet, **context: Any) -> dict[str, str]:
    context = {"targetingKey": "ada", "vip": True, **context}
    return {key: ask(flag_set, key, context).variant for key in flag_set.flags}


ALL_ON = dict.fromkeys(["plain", "rules", "in_s", "needy", "gone"], "on")

PATCHES: list[Any] = [
    ({"set_flags": {"plain": flag(default="off")}}, {"plain": "off"}),
    ({"set_flags": {"new": flag(default="off")}}, {"new": "off"}),
    ({"set_flags": {"in_s": flag(default="off")}}, {"in_s": "off", "needy": "off"}),
    ({"delete_flags": ["gone", "never"]}, {"gone": None}),
    ({"delete_flags": ["in_s"]}, {"in_s": None, "needy": "off"}),
    ({"set_segments": {"s": segment("bob")}}, {"in_s": "off", "needy": "off"}),
    ({"delete_segments": ["s", "never"]}, {"in_s": "off", "needy": "off"}),
    ({"segment_members": {"s": (["eve"], ["ada"])}}, {"in_s": "off", "needy": "off"}),
    ({"set_segments": {"s": segment()}, "segment_members": {"s": (["ada"], [])}}, {}),
    ({"segment_members": {"new": (["ada"], [])}}, {}),
    ({"evaluators": {"e": False}}, {"rules": "off"}),
    ({"set_flags": {"in_s": flag(prerequisites=needs(("needy", "on")))}}, {"in_s": "", "needy": "off"}),
]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("patch", "changes"), PATCHES)
def test_a_patched_set_answers_as_one_that_was_made_so_and_the_old_one_as_before(
    patch: Any, changes: Any, packed: bool, compiled: bool
) -> None:
    old = before()
    if packed:
        old = FlagSet(
            flags=old.flags,
            segments=old.segments,
            evaluators=old.evaluators,
            metadata=old.metadata,
            version="1",
            packed=True,
        )
    if compiled:
        assert variants(old) == ALL_ON
    new = old.patched(**patch, version="2")
    expected = {key: value for key, value in {**ALL_ON, **changes}.items() if value is not None}
    assert variants(new) == expected
    assert (new.version, old.version) == ("2", "1")
    assert variants(old) == ALL_ON
    made = FlagSet(
        flags=new.flags, segments=new.segments, evaluators=new.evaluators, metadata=new.metadata, version="2"
    )
    assert variants(made) == expected


def test_metadata_and_bucketing_reach_every_answer() -> None:
    old = before()
    assert ask(old, "plain").metadata == {"team": "x"}
    new = old.patched(metadata={"team": "y"}, version="2")
    assert ask(new, "plain").metadata == {"team": "y"}
    assert ask(old, "plain").metadata == {"team": "x"}
    assert ask(old.patched(bucketing="v9", version="3"), "rules").error_code == "GENERAL"


def test_functions_that_are_the_same_are_shared_and_others_are_bound_to_their_set() -> None:
    old = before()
    variants(old)
    new = old.patched(set_flags={"plain": flag()}, version="2")
    shared = {key for key in old.flags if new.functions[key] is old.functions[key]}
    assert shared == {"rules", "gone"}
    held = new.functions["in_s"]
    assert old.functions["in_s"].__code__ is held.__code__  # compiled once all the same


def test_a_chain_of_patches_keeps_no_old_set() -> None:
    class Watched(FlagSet):
        __slots__ = ("__weakref__",)

    first = Watched(flags=before().flags, segments=before().segments, evaluators=before().evaluators)
    variants(first)
    alive = weakref.ref(first)
    second = first.patched(set_flags={"plain": flag()}, version="2")
    third = second.patched(set_flags={"plain": flag()}, version="3")
    del first, second
    gc.collect()
    assert alive() is None
    assert variants(third) == ALL_ON
