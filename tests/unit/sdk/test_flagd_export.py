"""What a flag set becomes in flagd's language, and what cannot be said in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sdk.documents import Reference, ask, flag, meaning, needs, segment
from vexil.sdk import FlagSet, from_flagd, to_flagd
from vexil.sdk.flagd_export import MEMBERS
from vexil.sdk.limits import SEGMENT_INLINE_MEMBERS_MAX

VIP = {"==": [{"var": "plan"}, "gold"]}
RULES = [{"id": "r", "if": VIP, "serve": "on"}]
CONTEXTS: list[dict[str, Any]] = [
    {},
    {"targetingKey": "ada"},
    {"targetingKey": "bob", "plan": "gold"},
    {"targetingKey": "eve", "plan": "gold", "account": "7"},
    {"plan": None, "account": 7, "x": "on"},
    {"x": True, "account": "8", "targetingKey": 5},
]


def exported(flags: Any, **parts: Any) -> Any:
    """The document, which was checked to mean the same to flagd and after a way back."""
    flag_set = FlagSet(flags=flags, **parts)
    document, left_out = to_flagd(flag_set)
    assert left_out == []
    imported = from_flagd(document)
    assert (imported.errors, imported.warnings) == ((), ())
    back, reference = imported.flag_set(), Reference(document)
    for key in flags:
        assert set(document["flags"][key]) <= set(MEMBERS)
        for context in CONTEXTS:
            expected = meaning(ask(flag_set, key, context))
            assert reference.meaning(key, context) == expected, (key, context, document["flags"][key])
            assert meaning(ask(back, key, context)) == expected, (key, context, document["flags"][key])
    return document


def left_out(flags: Any, **parts: Any) -> dict[str, str]:
    document, missing = to_flagd(FlagSet(flags=flags, **parts))
    assert document["flags"].keys() == flags.keys() - {one.key for one in missing}
    return {one.key: one.reason for one in missing}


def test_rules_become_one_if() -> None:
    rules = [*RULES, {"id": "s", "if": True, "split": [["on", 1], ["off", 2]]}]
    document = exported({"f": flag(rules=rules, metadata={"a": 1})}, metadata={"flagSetId": "s"})
    assert document == {
        "flags": {
            "f": {
                "state": "ENABLED",
                "variants": {"on": True, "off": False},
                "defaultVariant": "on",
                "targeting": {"if": [VIP, "on", True, {"fractional": [["on", 1], ["off", 2]]}, None]},
                "metadata": {"a": 1},
            }
        },
        "metadata": {"flagSetId": "s"},
    }


def test_off_flags() -> None:
    flags = {
        "without": flag(enabled=False, rules=RULES),
        "with": flag(enabled=False, off_variant="off", rules=RULES),
        "broken": flag(broken="limit", off_variant="off", targeting=VIP),
        "cycle": flag(off_variant="off", prerequisites=needs(("cycle", "on"))),
        "missing": flag(prerequisites=needs(("gone", "on"))),
    }
    document = exported(flags)["flags"]
    assert {key: (body["state"], body["defaultVariant"]) for key, body in document.items()} == {
        "without": ("DISABLED", "on"),
        "with": ("ENABLED", "off"),
        "broken": ("ENABLED", "off"),
        "cycle": ("ENABLED", "off"),
        "missing": ("DISABLED", "on"),
    }
    assert not any("targeting" in body for body in document.values())


def test_a_flag_without_default_has_a_null_one() -> None:
    assert exported({"f": flag(default=None, rules=RULES)})["flags"]["f"]["defaultVariant"] is None


def test_whole_numbers_of_float_flags_stay_floats() -> None:
    document = exported({"f": flag("float", variants={"on": 10})})
    assert repr(document["flags"]["f"]["variants"]) == "{'on': 10.0}"


def test_splits_by_an_attribute() -> None:
    rules = [{"id": "s", "if": True, "split": [["on", 1], ["off", 2]], "by": {"var": "account"}}]
    exported({"f": flag(rules=rules)})


def test_segments_are_inline() -> None:
    segments = {
        "listed": segment("ada", "7"),
        "ruled": segment("bob", rules=(VIP, {"segment": "listed"})),
        "rules-only": segment(rules=(VIP,)),
        "empty": segment(),
        "circle": segment("ada", rules=({"segment": "circle"},)),
    }
    conditions = [
        {"segment": "listed"},
        {"segment": "ruled"},
        {"segment": ["rules-only"]},
        {"segment": "empty"},
        {"segment": "circle"},
        {"segment": "gone"},
        {"in_segment": [{"var": "account"}, "listed"]},
        {"in_segment": [{"var": "account"}, "ruled"]},
        {"some": [["7", "8"], {"in_segment": [{"var": ""}, "listed"]}]},
        {"!": {"$ref": "listed-too"}},
    ]
    flags: Any = {
        f"f{n}": flag(rules=[{"id": "r", "if": condition, "serve": "off"}])
        for n, condition in enumerate(conditions)
    }
    flags["raw"] = flag(
        variants={"true": True, "false": False}, default="true", targeting={"segment": "listed"}
    )
    flags["raw-gone"] = flag(
        variants={"true": True, "false": False}, default="true", targeting={"segment": "gone"}
    )
    document = exported(flags, segments=segments, evaluators={"listed-too": {"segment": "listed"}})
    assert document["$evaluators"] == {"listed-too": {"in": [{"var": "targetingKey"}, ["7", "ada"]]}}
    assert "segment" not in repr(document)


def test_a_large_segment_cannot_be_said_and_takes_no_other_flag_with_it() -> None:
    members = [f"user-{n}" for n in range(SEGMENT_INLINE_MEMBERS_MAX + 1)]
    segments = {"large": segment(*members), "fits": segment(*members[1:])}
    flags = {
        "large": flag(rules=[{"id": "r", "if": {"segment": "large"}, "serve": "on"}]),
        "by-name": flag(rules=[{"id": "r", "if": {"$ref": "e"}, "serve": "on"}]),
        "fits": flag(rules=[{"id": "r", "if": {"segment": "fits"}, "serve": "on"}]),
        "off": flag(enabled=False, rules=[{"id": "r", "if": {"segment": "large"}, "serve": "on"}]),
    }
    missing = left_out(flags, segments=segments, evaluators={"e": {"segment": "large"}})
    assert missing.keys() == {"large", "by-name"}
    assert "large" in missing["large"]


def test_evaluators_keep_their_names_and_lose_their_nesting() -> None:
    evaluators = {"gold": VIP, "not": {"!": {"$ref": "gold"}}, "quoted": {"==": [{"var": "plan"}, 'ü"\n']}}
    flags = {
        "f": flag(targeting={"if": [{"$ref": "not"}, "off", "on"]}),
        "g": flag(targeting={"if": [{"$ref": "quoted"}, "off", "on"]}),
    }
    document = exported(flags, evaluators=evaluators)
    assert document["$evaluators"] == {"gold": VIP, "not": {"!": VIP}}
    assert document["flags"]["f"]["targeting"]["if"][0] == {"$ref": "not"}


BY_ACCOUNT = [{"id": "s", "if": True, "split": [["on", 1], ["off", 1]], "by": {"var": "account"}}]
NAMED: dict[str, Any] = {"variants": {"true": True, "false": False, "on": True}, "default": "true"}
ASKED: dict[str, Any] = {
    "static": flag(),
    "rules": flag(rules=RULES, default="off"),
    "no default": flag(rules=RULES, default=None),
    "split": flag(rules=BY_ACCOUNT),
    "off": flag(enabled=False, off_variant="on"),
    "gone": flag(enabled=False),
    "raw": flag(targeting={"if": [VIP, "off", None]}),
    "no else": flag(targeting={"if": [VIP, "off"]}),
    "booleans": flag(targeting={"if": [VIP, True, {"var": "x"}, False]}, **NAMED),
    "comparison": flag(targeting={"==": [{"var": "plan"}, "gold"]}, **NAMED),
    "wrong name": flag(targeting={"if": [VIP, "nobody", "on"]}),
    "text": flag(targeting={"cat": ["o", {"if": [VIP, "n", "ff"]}]}),
    "raw split": flag(targeting={"fractional": [{"var": "account"}, ["on", 1], ["off", 1]]}),
    "flag key": flag(targeting={"if": [{"==": [{"var": "$flagd.flagKey"}, "asked"]}, "on", "off"]}),
    "reference": flag(targeting={"if": [{"$ref": "gold"}, "on", "off"]}),
    "chain": flag(rules=RULES, default="off", off_variant="on", prerequisites=needs(("second", "on"))),
    "never": flag(prerequisites=needs(("nowhere", "on")), off_variant="on"),
    "segment": flag(rules=[{"id": "r", "if": {"segment": "s"}, "serve": "off"}]),
}


@pytest.mark.parametrize("wanted", ["on", "off", "true", "false"])
@pytest.mark.parametrize("asked", ASKED)
def test_prerequisites_are_inline(asked: str, wanted: str) -> None:
    flags: Any = {"asked": ASKED[asked], "second": flag(rules=RULES, default="off")}
    asking: dict[str, dict[str, Any]] = {
        "plain": {},
        "off": {"off_variant": "off"},
        "null": {"default": None},
        "both": {"default": None, "off_variant": "off"},
        "rules": {"rules": [{"id": "r", "if": {"var": "x"}, "serve": "off"}]},
        "split": {"rules": [{"id": "s", "if": True, "split": [["off", 1]]}]},
        "raw": {"targeting": {"if": [{"var": "x"}, "off", {"var": "account"}, {"var": "gone"}]}},
        "raw-off": {"targeting": {"if": [{"var": "x"}, "off"]}, "off_variant": "off"},
        "two": {"prerequisites": needs(("asked", wanted), ("second", "on")), "off_variant": "off"},
    }
    for name, members in asking.items():
        flags[name] = flag(**{"prerequisites": needs(("asked", wanted)), **members})
    exported(flags, evaluators={"gold": VIP}, segments={"s": segment("ada", "bob")})


def test_only_what_is_static_here_is_static_there() -> None:
    flags = {
        "static": flag(),
        "undecided": flag(default=None),
        "unusable": flag(rules=[{"id": "r", "if": True, "serve": "nobody"}]),
        "met": flag(prerequisites=needs(("static", "on"))),
        "met-rules": flag(prerequisites=needs(("static", "on")), rules=RULES, default="off"),
        "asks": flag(prerequisites=needs(("met-rules", "on")), off_variant="off", default=None),
    }
    flag_set, document = FlagSet(flags=flags), exported(flags)
    vip = {"plan": "gold"}
    for key in flags:
        assert Reference(document).details(key, vip)[2] == ask(flag_set, key, vip).reason, key


@pytest.mark.parametrize(
    "asked",
    [
        flag(rules=[{"id": "s", "if": True, "split": [["on", 1], ["off", 1]]}]),
        flag(targeting={"fractional": [["on", 1], ["off", 1]]}),
        flag(targeting={"var": "x"}),
        flag(targeting={"and": [VIP, "on"]}),
        flag(targeting={"if": [{"/": [1, {"var": "x"}]}, "on"]}),
        flag(targeting={"if": [{"$ref": "gone"}, "on", "off"]}),
        flag(targeting={"if": [{"in": ["x", {"var": ""}]}, "on", "off"]}),
        flag(rules=[{"id": "r", "if": {"some": [["a"], {"segment": "s"}]}, "serve": "on"}]),
    ],
    ids=lambda asked: str(asked["targeting"] or asked["rules"])[:60],
)
def test_a_prerequisite_that_cannot_be_said_leaves_out_the_flag_that_asks(asked: Any) -> None:
    flags = {"asked": asked, "f": flag(prerequisites=needs(("asked", "on")))}
    assert "f" in left_out(flags, segments={"s": segment("ada")})


def test_what_flagd_has_no_words_for_is_named() -> None:
    flags: Any = {
        "no variants": flag(variants={}),
        "mixed": flag(variants={"on": True, "off": 1}),
        "malformed": 7,
        "circle": flag(targeting={"$ref": "e"}),
        "sound": flag(),
    }
    missing = left_out(flags, evaluators={"e": {"!": {"$ref": "e"}}})
    assert missing.keys() == {"no variants", "mixed", "malformed", "circle"}


def test_prerequisites_that_grow_without_end_are_left_out() -> None:
    flags: Any = {"f30": flag(rules=RULES)}
    for n in range(30):
        flags[f"f{n}"] = flag(prerequisites=needs((f"f{n + 1}", "on"), (f"f{n + 1}", "on")), rules=RULES)
    missing = left_out(flags)
    assert "f0" in missing
    assert "f29" not in missing
