"""Raw targeting gives what flagd's reference implementation gives, and so does everything that is exported.

Left out are the places where the two differ on purpose: a computed initial value of ``reduce``, an array for a
``fractional`` bucket, ``fractional`` entries that are not written as arrays, arrays and objects as results.
"""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.property.flag_documents import CONTEXTS, OPERATORS, VARIANT_NAMES, rules
from tests.unit.sdk.documents import Reference, ask, flag, meaning
from vexil.sdk import FlagSet, from_flagd, to_flagd

VARIANTS = {"on": True, "off": False, "true": True, "1": False}
NOT_FLAGDS = {"segment", "in_segment", "reduce", "fractional", "log", "$ref"}
LEAVES = (
    VARIANT_NAMES | st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["1.2.0", "=", "a", ""])
)
SHARED = [name for name in OPERATORS if name not in NOT_FLAGDS]
CONDITIONS = rules(LEAVES, SHARED)
SPLITS = st.builds(
    lambda by, entries: {"fractional": [*([] if by is None else [by]), *entries]},
    st.sampled_from([None, {"var": "targetingKey"}, {"cat": [{"var": "x"}, {"var": "$flagd.flagKey"}]}]),
    st.lists(st.tuples(VARIANT_NAMES, st.integers(-1, 9)).map(list), max_size=4),
)
TARGETING = st.recursive(
    VARIANT_NAMES | st.none() | st.booleans() | SPLITS,
    lambda inner: st.builds(lambda *branches: {"if": list(branches)}, CONDITIONS, inner, inner),
    max_leaves=5,
).filter(lambda rule: isinstance(rule, dict))
TARGETING |= CONDITIONS.filter(lambda rule: isinstance(rule, dict))
PEOPLE = st.builds(
    lambda context, key: {**context, **({} if key is None else {"targetingKey": key})},
    CONTEXTS.map(lambda context: {name: context[name] for name in context if name != "targetingKey"}),
    st.none() | st.text(max_size=8),
)


@example(targeting={"!=": [{"filter": []}, {"filter": []}]}, context={})
@example(targeting={"==": [[], []]}, context={})
@given(targeting=TARGETING, context=PEOPLE)
@settings(max_examples=500, deadline=None)
def test_targeting(targeting: Any, context: Any) -> None:
    document = {"flags": {"f": {"state": "ENABLED", "variants": VARIANTS, "targeting": targeting}}}
    flag_set = from_flagd(document).flag_set()
    expected = Reference(document).details("f", context)
    answer = ask(flag_set, "f", context)
    if isinstance(expected, str):
        assert answer.error_code is not None
    else:
        assert (answer.value, answer.variant, answer.reason) == expected


CONDITION = rules(LEAVES, ["if", "and", "or", "!", "==", "<", "in", "starts_with", "segment", "in_segment"])
OUTCOMES = st.builds(lambda name: {"serve": name}, VARIANT_NAMES) | st.builds(
    lambda weights, by: {"split": [["on", weights[0]], ["off", weights[1]]], **by},
    st.tuples(st.integers(0, 5), st.integers(1, 5)),
    st.sampled_from([{}, {"by": {"var": "targetingKey"}}, {"by": {"var": "x"}}]),
)
FLAGS = st.builds(
    lambda **members: flag(**{"variants": VARIANTS, **members}),
    enabled=st.sampled_from([True, True, True, False]),
    off_variant=st.none() | VARIANT_NAMES,
    default=st.none() | VARIANT_NAMES,
    rules=st.lists(
        st.builds(lambda condition, outcome: {"id": "r", "if": condition, **outcome}, CONDITION, OUTCOMES),
        max_size=3,
    ),
    prerequisites=st.lists(
        st.fixed_dictionaries({"flag": st.sampled_from("abcd"), "variant": VARIANT_NAMES}), max_size=2
    ),
)
SEGMENTS: Any = {
    "on": {"members": {"on", "1"}, "rules": [{"id": "r", "if": {"==": [{"var": "x"}, "a"]}}]},
    "off": {"members": {"off"}, "rules": []},
}


@given(
    flags=st.fixed_dictionaries(dict.fromkeys("abc", FLAGS)),
    contexts=st.lists(PEOPLE, min_size=1, max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_an_exported_flag_set_means_the_same(flags: Any, contexts: Any) -> None:
    flag_set = FlagSet(flags=flags, segments=SEGMENTS)
    document, _ = to_flagd(flag_set)
    imported = from_flagd(document)
    assert imported.errors == ()
    back, reference = imported.flag_set(), Reference(document)
    for key in document["flags"]:
        for context in contexts:
            expected = meaning(ask(flag_set, key, context))
            assert reference.meaning(key, context) == expected
            assert meaning(ask(back, key, context)) == expected


@given(
    flags=st.fixed_dictionaries(dict.fromkeys("abcd", FLAGS)), context=PEOPLE, order=st.permutations("abcd")
)
def test_answers_do_not_depend_on_the_order_of_writing_or_asking(
    flags: Any, context: Any, order: list[str]
) -> None:
    first = FlagSet(flags=flags, segments=SEGMENTS)
    second = FlagSet(segments=SEGMENTS)
    for key in order:
        second.replace_flag(key, flag())
    for key in reversed(order):
        second.replace_flag(key, flags[key])
    assert [ask(first, key, context) for key in "abcd"] == [ask(second, key, context) for key in "abcd"]
