"""A compiled flag gives what a straightforward walk over its rules gives, where flagd has no say too."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.flag_documents import ANY_JSON, CONTEXTS, SCALARS, VARIANT_NAMES, rules
from tests.property.walk import walked
from tests.unit.sdk.documents import flag
from vexil.sdk import Evaluation, FlagSet, evaluate

VARIANTS = {"on": True, "off": False, "true": True, "1": False}
EVALUATORS: Any = {
    "x": {"var": "x"},
    "list": [{"var": "x"}, 1, "a"],
    "some": {"some": [{"var": "list"}, {"==": [{"var": ""}, {"$ref": "x"}]}]},
    "on": {"and": [{"$ref": "x"}, {"!": {"$ref": "some"}}, {"segment": "on"}]},
    "deep": {
        "cat": [{"$ref": "on"}, {"if": [{"$ref": "some"}, {"$ref": "list"}, {"var": "$flagd.flagKey"}]}]
    },
}
SEGMENTS: Any = {
    "on": {"members": {"on", "1"}, "rules": [{"id": "r", "if": {"==": [{"var": "x"}, "a"]}}]},
    "off": {
        "members": {"off"},
        "rules": [{"id": "r", "if": {"and": [{"segment": "on"}, {"fractional": [["1", 1], ["", 1]]}]}}],
    },
}
NOW_S = 1_800_000_000.5


def checked(flag_set: FlagSet, key: str, context: dict[str, Any]) -> None:
    answer: Evaluation = evaluate(flag_set, key, context, now_s=NOW_S)
    expected = walked(flag_set, key, context, now_s=NOW_S)
    if isinstance(expected, str):
        assert (answer.error_code, answer.reason) == (expected, "ERROR"), answer
    else:
        assert answer.error_code is None, (answer, expected)
        assert (answer.value, answer.variant, answer.reason) == expected


REFERENCES = st.sampled_from([*EVALUATORS, "gone"]).map(lambda name: {"$ref": name})
NAMED = SCALARS | VARIANT_NAMES | REFERENCES
CONDITIONS = rules(NAMED)


@given(
    targeting=CONDITIONS.filter(lambda rule: isinstance(rule, dict)), contexts=st.lists(CONTEXTS, max_size=3)
)
@settings(max_examples=400, deadline=None)
def test_targeting(targeting: Any, contexts: list[Any]) -> None:
    # `!!` and `cat` show more of a value than the name of a variant does.
    flags = {
        "f": flag(variants=VARIANTS, targeting=targeting),
        "g": flag(variants=VARIANTS, targeting={"if": [targeting, "on", "off"]}),
        "h": flag(variants=VARIANTS, targeting={"===": [{"cat": [targeting, ""]}, {"var": "x"}]}),
    }
    flag_set = FlagSet(flags=flags, evaluators=EVALUATORS, segments=SEGMENTS)
    for context in [{}, *contexts]:
        for key in flags:
            checked(flag_set, key, context)


ENTRIES = st.lists(
    st.lists(CONDITIONS, min_size=2, max_size=2) | st.tuples(VARIANT_NAMES, st.integers(-1, 9)).map(list),
    max_size=4,
)
SPLITS = st.builds(
    lambda by, entries: {"fractional": [*by, *entries]}, st.lists(CONDITIONS, max_size=1), ENTRIES
)


@given(split=SPLITS, inside=st.booleans(), context=CONTEXTS)
@settings(max_examples=250, deadline=None)
def test_splits(split: Any, inside: bool, context: Any) -> None:
    targeting = {"if": [{"some": [[1, context], split]}, "on", split]} if inside else split
    flag_set = FlagSet(
        flags={"f": flag(variants=VARIANTS, targeting=targeting)}, evaluators=EVALUATORS, segments=SEGMENTS
    )
    checked(flag_set, "f", context)


RULES = st.lists(
    st.fixed_dictionaries(
        {"id": st.just("r"), "if": CONDITIONS | st.booleans()},
        optional={
            "serve": VARIANT_NAMES,
            "split": st.lists(st.tuples(VARIANT_NAMES, st.integers(0, 5)).map(list), min_size=1, max_size=3),
            "by": CONDITIONS,
        },
    ),
    max_size=4,
)
PREREQUISITES = st.lists(
    st.fixed_dictionaries({"flag": st.sampled_from(["a", "b", "c", "gone"]), "variant": VARIANT_NAMES}),
    max_size=2,
)
FLAGS = st.builds(
    lambda **members: flag(**{"variants": VARIANTS, **members}),
    enabled=st.sampled_from([True, True, True, False]),
    off_variant=st.none() | VARIANT_NAMES,
    default=st.none() | VARIANT_NAMES,
    rules=RULES,
    prerequisites=PREREQUISITES,
)


@given(flags=st.fixed_dictionaries(dict.fromkeys("abc", FLAGS)), context=CONTEXTS)
@settings(max_examples=250, deadline=None)
def test_flags_with_rules_and_prerequisites(flags: Any, context: Any) -> None:
    flag_set = FlagSet(flags=flags, evaluators=EVALUATORS, segments=SEGMENTS)
    for key in (*flags, "gone"):
        checked(flag_set, key, context)


LONG = st.integers(33, 200)


@given(
    name=st.sampled_from(["if", "and", "or", "cat", "+", "max", "merge", "in", "missing"]), size=LONG, at=LONG
)
@settings(max_examples=60, deadline=None)
def test_operations_with_many_arguments(name: str, size: int, at: int) -> None:
    # More of them than are written into one function, nested as well.
    arguments: list[Any] = [{"==": [{"var": "x"}, number]} for number in range(size)]
    if name in {"cat", "+", "merge", "missing"}:
        arguments = [{"var": "x"}, *range(size)]
    rule: Any = {name: arguments}
    if name in {"merge", "missing"}:
        rule = {"cat": [rule]}
    for _ in range(2):
        rule = {"if": [rule, {name: [*arguments[:3], rule]}, False]}
    checked(FlagSet(flags={"f": flag(variants=VARIANTS, targeting=rule)}), "f", {"x": at})


@given(value=ANY_JSON, other=ANY_JSON)
@settings(max_examples=200, deadline=None)
def test_comparisons_of_anything(value: Any, other: Any) -> None:
    names = ["==", "!=", "===", "!==", "<", "<=", ">", ">=", "in", "starts_with", "ends_with", "cat"]
    for name in names:
        for sides in (
            [{"var": "x"}, other],
            [other, {"var": "x"}],
            [{"var": "x"}, {"var": "y"}],
            [value, other],
        ):
            rule = {"if": [{name: sides}, "on", "off"]}
            flag_set = FlagSet(flags={"f": flag(variants=VARIANTS, targeting=rule)})
            checked(flag_set, "f", {"x": value, "y": other})
