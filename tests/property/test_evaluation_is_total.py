"""Whatever the JSON, there is an answer, and a body to send it in."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.flag_documents import ANY_JSON, CONTEXTS, SCALARS, VARIANT_NAMES, rules
from tests.unit.sdk.documents import flag
from vexil.sdk import ABSENT, Evaluation, FlagSet, InvalidContext, evaluate, from_flagd, ofrep, to_flagd
from vexil.sdk.codes import ERROR_CODES

REASONS = {"STATIC", "TARGETING_MATCH", "DEFAULT", "DISABLED"}
VARIANTS = {"on": True, "off": False, "true": True, "1": False}
EVALUATORS = {"x": {"var": "x"}, "loop": {"!": {"$ref": "loop"}}}
SEGMENTS: Any = {
    "on": {"members": {"on", "1"}, "rules": [{"id": "r", "if": {"var": "x"}}]},
    "off": {"members": set(), "rules": [{"id": "r", "if": {"segment": "off"}}]},
}


def check(answer: Evaluation, key: Any) -> None:
    assert answer.key == key
    if answer.error_code is None:
        assert answer.reason in REASONS
        assert answer.variant != "" or answer.value is ABSENT
    else:
        assert (answer.reason, answer.value, answer.variant) == ("ERROR", ABSENT, "")
        assert answer.error_code in ERROR_CODES
        assert answer.error_details
    response = ofrep.single(answer)
    assert json.loads(response.body)["key"] == key
    assert response.status in {200, 400, 404}


@given(targeting=rules() | ANY_JSON, context=CONTEXTS | ANY_JSON)
@settings(max_examples=400, deadline=None)
def test_any_targeting_and_any_context(targeting: Any, context: Any) -> None:
    flag_set = FlagSet(
        flags={"f": flag(variants=VARIANTS, targeting=targeting)}, evaluators=EVALUATORS, segments=SEGMENTS
    )
    check(evaluate(flag_set, "f", context, now_s=1.0), "f")
    to_flagd(flag_set)


RULES = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(max_size=2), "if": rules()},
        optional={
            "serve": VARIANT_NAMES | SCALARS,
            "split": st.lists(st.tuples(VARIANT_NAMES, st.integers(-1, 5)).map(list)) | ANY_JSON,
            "by": rules(),
        },
    )
    | ANY_JSON,
    max_size=3,
)


@given(written=RULES, context=CONTEXTS)
@settings(max_examples=200, deadline=None)
def test_any_rules(written: Any, context: Any) -> None:
    flag_set = FlagSet(flags={"f": flag(variants=VARIANTS, rules=written)}, segments=SEGMENTS)
    check(evaluate(flag_set, "f", context, now_s=1.0), "f")
    to_flagd(flag_set)


MEMBERS = st.sampled_from(
    [
        "type",
        "enabled",
        "off_variant",
        "default",
        "variants",
        "rules",
        "targeting",
        "prerequisites",
        "metadata",
        "broken",
    ]
)
PREREQUISITES = st.lists(
    st.fixed_dictionaries({"flag": st.sampled_from(["a", "b", "gone"]) | ANY_JSON, "variant": SCALARS}),
    max_size=2,
)


@given(
    changes=st.lists(st.dictionaries(MEMBERS, ANY_JSON, max_size=3) | ANY_JSON, min_size=2, max_size=2),
    prerequisites=st.lists(PREREQUISITES, min_size=2, max_size=2),
    parts=st.dictionaries(st.sampled_from(["evaluators", "metadata"]), st.dictionaries(st.text(), ANY_JSON)),
    now_s=st.floats(),
)
@settings(max_examples=200, deadline=None)
def test_any_documents(changes: Any, prerequisites: Any, parts: Any, now_s: float) -> None:
    flags: Any = {}
    for key, change, needed in zip("ab", changes, prerequisites, strict=True):
        flags[key] = {**flag(prerequisites=needed), **change} if isinstance(change, dict) else change
    flag_set = FlagSet(flags=flags, **parts)
    for key in ("a", "b", "gone"):
        check(evaluate(flag_set, key, {"targetingKey": "u"}, now_s=now_s), key)
    to_flagd(flag_set)


@given(document=ANY_JSON | st.dictionaries(st.sampled_from(["flags", "$evaluators", "metadata"]), ANY_JSON))
def test_any_flagd_document(document: Any) -> None:
    for imported in from_flagd(document).flags:
        assert imported.variants


@given(body=st.binary() | ANY_JSON.map(lambda value: json.dumps({"context": value}).encode()))
def test_any_request_body(body: bytes) -> None:
    try:
        context = ofrep.read_context(body)
    except InvalidContext:
        return
    check(evaluate(FlagSet(flags={"f": flag()}), "f", context, now_s=1.0), "f")


def test_a_context_of_any_depth() -> None:
    for wrap in (lambda value: [value], lambda value: {"x": value}):
        deep: Any = "leaf"
        for _ in range(50_000):
            deep = wrap(deep)
        for rule in (
            {"cat": [{"var": "x"}]},
            {"===": [{"var": "x"}, {"var": "y"}]},
            {"in": [{"var": "x"}, [{"var": "y"}]]},
            {"+": [{"var": "x"}, 1]},
            {"fractional": [{"var": "x"}, ["on", 1]]},
            {"fractional": [{"merge": [{"var": "x"}, 1]}, ["on", 1]]},
            {"var": "x"},
        ):
            flag_set = FlagSet(flags={"f": flag(targeting=rule)})
            check(evaluate(flag_set, "f", {"x": deep, "y": [deep]}, now_s=1.0), "f")
        _take_apart(deep)


def _take_apart(deep: Any) -> None:
    # Freed level by level: left to the interpreter, a structure this deep is freed by recursion.
    while isinstance(deep, list | dict):
        deep = deep[0] if isinstance(deep, list) else deep["x"]
