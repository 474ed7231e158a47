"""An explanation never tells another story than evaluation."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.flag_documents import ANY_JSON, CONTEXTS, SCALARS, VARIANT_NAMES, rules
from tests.unit.sdk.documents import NOW_S, flag
from vexil.sdk.evaluation import evaluate
from vexil.sdk.explaining import Explanation, explain
from vexil.sdk.model import FlagSet

VARIANTS = {"on": True, "off": False, "true": True, "1": False}
EVALUATORS = {"x": {"var": "x"}, "loop": {"!": {"$ref": "loop"}}}
SEGMENTS: Any = {
    "on": {"members": {"on", "1"}, "rules": [{"id": "r", "if": {"var": "x"}}]},
    "off": {"members": set(), "rules": [{"id": "r", "if": {"segment": "off"}}]},
}
# More of what people write than of what is merely possible, or hardly any rule would ever serve.
SPLITS = st.lists(st.tuples(VARIANT_NAMES, st.integers(0, 5)).map(list), min_size=1, max_size=4)
BY = st.sampled_from([{"var": "targetingKey"}, {"var": "x"}, {"var": ["list", ["on", 2**31 - 8]]}]) | rules()
SOUND = st.fixed_dictionaries({"id": st.text(max_size=2), "if": st.just(True) | rules()}).flatmap(
    lambda body: st.one_of(
        VARIANT_NAMES.map(lambda serve: {**body, "serve": serve}),
        SPLITS.map(lambda split: {**body, "split": split}),
        st.tuples(SPLITS, BY).map(lambda pair: {**body, "split": pair[0], "by": pair[1]}),
    )
)
CONDITIONALS = st.lists(rules(VARIANT_NAMES), max_size=5).map(lambda branches: {"if": branches})
FRACTIONALS = st.tuples(BY, SPLITS).map(lambda pair: {"fractional": [pair[0], *pair[1]]})
OTHERS = st.lists(
    st.fixed_dictionaries(
        {"flag": st.sampled_from(["a", "b", "gone"]), "variant": VARIANT_NAMES | st.just("")}
    ),
    max_size=2,
)


def check(explanation: Explanation, flag_set: FlagSet, key: str, context: Any) -> None:
    """What is told is what evaluation gives, and follows from the steps that are told."""
    found = explanation.evaluation
    assert found == evaluate(flag_set, key, context, now_s=NOW_S)
    steps = explanation.trace
    assert steps, "something was looked at"
    for step in steps:
        _check_split(step)
    last = steps[-1]
    if found.error_code is not None:
        assert last == {"step": "error", "code": found.error_code, "details": found.error_details}
        return
    assert all(step["held"] is False for step in steps[:-2] if "held" in step), "the first that holds decides"
    if last["step"] == "off_variant":
        assert (found.reason, found.variant) == ("DISABLED", last["variant"] or "")
    elif last["step"] == "default":
        assert found.reason in {"DEFAULT", "STATIC"}
        assert found.variant == (last["variant"] or "")
    else:
        assert last["held"] is True
        gave = last["gave"]
        assert found.reason == "TARGETING_MATCH"
        assert found.variant == (gave if isinstance(gave, str) else json.dumps(gave))
    if found.variant:
        assert ("variant", found.variant) in explanation.decided


def _check_split(step: dict[str, Any]) -> None:
    split = step.get("split")
    if split is None or "gave" not in step:
        return
    if split["entry"] is None:
        assert split["bucket"] is None
        assert step["gave"] is None
        return
    entry = split["entries"][split["entry"]]
    assert entry["from"] <= split["bucket"] < entry["to"] <= split["total"]
    assert step["gave"] == entry["variant"]


@given(
    written=st.lists(SOUND, max_size=4) | st.lists(SOUND | ANY_JSON, max_size=3),
    context=CONTEXTS,
    default=VARIANT_NAMES | st.none(),
    off_variant=VARIANT_NAMES | st.none(),
    bucketing=st.sampled_from(["v3", "v3", "v2", "v9"]),
)
@settings(max_examples=200, deadline=None)
def test_rules(written: Any, context: Any, default: Any, off_variant: Any, bucketing: str) -> None:
    document = flag(variants=VARIANTS, rules=written, default=default, off_variant=off_variant)
    parts: Any = {"segments": SEGMENTS, "evaluators": EVALUATORS, "bucketing": bucketing}
    flag_set = FlagSet(flags={"f": document}, **parts)
    check(explain(flag_set, "f", context, now_s=NOW_S), flag_set, "f", context)


@given(targeting=rules() | CONDITIONALS | FRACTIONALS | ANY_JSON, context=CONTEXTS | ANY_JSON)
@settings(max_examples=200, deadline=None)
def test_targeting(targeting: Any, context: Any) -> None:
    document = flag(variants=VARIANTS, targeting=targeting)
    flag_set = FlagSet(flags={"f": document}, evaluators=EVALUATORS, segments=SEGMENTS)
    check(explain(flag_set, "f", context, now_s=NOW_S), flag_set, "f", context)


@given(
    prerequisites=st.tuples(OTHERS, OTHERS, OTHERS),
    enabled=st.tuples(st.booleans(), st.just(True), st.just(True)),
    written=st.lists(SOUND, max_size=2),
    context=CONTEXTS,
)
@settings(max_examples=100, deadline=None)
def test_prerequisites(prerequisites: Any, enabled: Any, written: Any, context: Any) -> None:
    flags = {
        key: flag(variants=VARIANTS, prerequisites=needed, enabled=on, off_variant="off", rules=written)
        for key, needed, on in zip(("a", "b", "f"), prerequisites, enabled, strict=True)
    }
    flag_set = FlagSet(flags=flags, segments=SEGMENTS)
    for key in flags:
        check(explain(flag_set, key, context, now_s=NOW_S), flag_set, key, context)


@given(
    change=st.dictionaries(
        st.sampled_from([*flag(), "broken"]), ANY_JSON | st.just(True) | SCALARS, max_size=3
    ),
    context=CONTEXTS,
)
@settings(max_examples=150, deadline=None)
def test_any_document(change: Any, context: Any) -> None:
    document: Any = {**flag(), **change}
    flag_set = FlagSet(flags={"f": document})
    check(explain(flag_set, "f", context, now_s=NOW_S), flag_set, "f", context)
