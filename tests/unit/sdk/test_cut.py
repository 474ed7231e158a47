"""A cut: a flag set as it was at one moment, while the flag set goes on."""

from __future__ import annotations

from typing import Any

from tests.unit.sdk.documents import flag
from vexil.sdk import FlagSet, evaluate, ofrep, to_flagd
from vexil.sdk.flagd import FlagdExport

IN_S: dict[str, Any] = {"rules": [{"id": "r", "if": {"segment": "s"}, "serve": "on"}], "default": "off"}


def one(flag_set: FlagSet, key: str, who: str = "ada") -> object:
    return evaluate(flag_set, key, {"targetingKey": who}, now_s=0).value


def test_a_cut_answers_as_of_its_moment_whatever_comes_after() -> None:
    rules = [{"id": "r", "if": {"==": [{"var": "targetingKey"}, "ada"]}}]
    origin = FlagSet(
        flags={
            "a": flag(default="on"),
            "needy": flag(default="on", prerequisites=[{"flag": "a", "variant": "on"}]),
            "inner": flag(**IN_S),
            "shared": flag(targeting={"if": [{"$ref": "e"}, "on", "off"]}),
        },
        segments={"s": {"members": set(), "rules": rules}},  # type: ignore[typeddict-item]
        evaluators={"e": {"==": [1, 1]}},
        metadata={"team": "x"},
        version="7",
    )
    with origin.cut() as cut:
        origin.replace_flag("a", flag(default="off", prerequisites=[{"flag": "needy", "variant": "on"}]))
        origin.replace_flag("new", flag())
        origin.replace_segment("s", None)
        origin.set_evaluators({"e": {"==": [1, 2]}})
        origin.set_metadata({})
        origin.version = "8"
        assert [one(cut, key) for key in ("a", "needy", "inner", "shared")] == [True] * 4
        assert one(cut, "inner", "bob") is False
        assert set(cut.flags) == {"a", "needy", "inner", "shared"}
        assert (dict(cut.metadata), cut.version, cut.cyclic) == ({"team": "x"}, "7", frozenset())
    assert [one(origin, key) for key in ("inner", "shared")] == [False, False]
    assert origin.cyclic == {"a", "needy"}


def test_what_a_cut_compiles_is_kept_for_the_next_one() -> None:
    origin = FlagSet(flags={"f": flag(**IN_S)})
    origin.replace_flag("g", flag(targeting={"if": [{"var": "x"}, "on", "off"]}))
    with origin.cut() as first:
        made = [first.functions[key] for key in "fg"]
    with origin.cut() as second:
        bound, shared = [second.functions[key] for key in "fg"]
        assert shared is made[1]
        assert bound.__code__ is made[0].__code__  # it asks for a segment of its own set
        origin.replace_flag("f", flag(default="on"))
        assert one(second, "f") is False
    assert one(origin, "f") is True


def test_members_are_lent_to_a_cut_until_it_is_left() -> None:
    members = {"ada"}
    origin = FlagSet(segments={"s": {"members": members, "rules": []}, "t": {"members": set(), "rules": []}})
    assert not origin.lends_members("s")
    with origin.cut():
        assert origin.lends_members("s")
        origin.replace_segment("s", {"members": members | {"bob"}, "rules": []})
        assert not origin.lends_members("s")
        assert origin.lends_members("t")
    assert not origin.lends_members("t")


def test_a_document_that_is_made_bit_by_bit_is_the_whole_one() -> None:
    flags = {f"f{n}": flag() if n % 3 else flag(variants={}) for n in range(9)}
    origin = FlagSet(flags=flags, evaluators={"e": {"==": [1, 1]}}, metadata={"team": "x"})
    export = FlagdExport(origin)
    made: dict[str, Any] = {}
    for key in sorted(flags):
        made |= export.flags([key])
    assert ({"flags": made, **export.others()}, export.left_out) == to_flagd(origin)
    assert len(export.left_out) == 3
    found = [evaluate(origin, key, {}, now_s=0) for key in sorted(flags)]
    assert ofrep.bulk_of([ofrep.item(f) for f in found], metadata={"a": 1}) == ofrep.bulk(
        reversed(found), metadata={"a": 1}
    )
