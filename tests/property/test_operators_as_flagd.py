"""Versions and buckets by themselves, against the libraries that flagd's reference implementation is made of."""

from __future__ import annotations

import logging
from typing import Any

import cbor2
import mmh3
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core.targeting import custom_ops

from tests.property.flag_documents import ANY_JSON
from vexil.sdk.buckets import GENERATIONS, bounds_of, pick
from vexil.sdk.versions import COMPARISONS, compare

PARTS = st.sampled_from(["0", "1", "01", "10", "a", "-", "rc", "rc.1", "1a", "", "x-y", "٣"]) | st.integers(
    0, 20
).map(str)
VERSIONS = (
    st.builds(
        lambda v, numbers, pre, build: v + ".".join(numbers) + "".join(pre) + "".join(build),
        st.sampled_from(["", "", "v", "V", "vv"]),
        st.lists(PARTS, min_size=1, max_size=4),
        st.lists(PARTS.map(lambda part: f"-{part}"), max_size=2)
        | PARTS.map(lambda part: [f"-{part}.{part}"]),
        st.lists(PARTS.map(lambda part: f"+{part}"), max_size=2),
    )
    | st.floats()
    | st.integers()
    | ANY_JSON
)


@given(first=VERSIONS, second=VERSIONS, comparison=st.sampled_from([*COMPARISONS, "==", None]))
@example(first="1.0.0-alpha.1", second="1.0.0-alpha.beta", comparison="<")
@example(first="1.0.0-2", second="1.0.0-10", comparison="<")
@example(first="1.0.0-2", second="1.0.0--", comparison="<")
@example(first="1.0.0\n", second="1.0.0", comparison="=")
@example(first="1.0+b-1", second="1", comparison="=")
@settings(max_examples=1000, deadline=None)
def test_versions(first: Any, second: Any, comparison: Any) -> None:
    logging.disable()
    try:
        expected = custom_ops.sem_ver({}, first, comparison, second)
    finally:
        logging.disable(logging.NOTSET)
    assert compare(first, comparison, second) is expected


@given(value=ANY_JSON.filter(lambda value: value is not None and not isinstance(value, list)))
@settings(max_examples=500, deadline=None)
def test_buckets_of_any_value(value: Any) -> None:
    try:
        data = cbor2.dumps(custom_ops.normalize_numbers(value), canonical=True)
    except UnicodeEncodeError:
        assert GENERATIONS["v3"].by_value(value) is None
        return
    assert GENERATIONS["v3"].by_value(value) == mmh3.hash(data, signed=False)


@given(flag_key=st.text(), who=st.text(min_size=1) | st.text(min_size=200, max_size=300))
@settings(max_examples=300)
def test_buckets_of_shorthand(flag_key: str, who: str) -> None:
    v3, v2 = GENERATIONS["v3"], GENERATIONS["v2"]
    data = cbor2.dumps([flag_key, who], canonical=True)
    assert v3.by_targeting_key(v3.prefix(flag_key), who) == mmh3.hash(data, signed=False)
    assert v2.by_targeting_key(v2.prefix(flag_key), who) == mmh3.hash(flag_key + who, signed=False)


WEIGHTS = st.lists(st.integers(-2, 20) | st.integers(0, 2**30), min_size=1, max_size=6)


@given(weights=WEIGHTS, drawn=st.integers(0, 2**32 - 1), at_edge=st.integers(-1, 1))
@settings(max_examples=300)
def test_the_bounds_of_weights_are_where_the_reference_divides(
    weights: list[int], drawn: int, at_edge: int
) -> None:
    bounds = bounds_of(weights)
    sound = [max(0, weight) for weight in weights]
    total = sum(sound)
    if not 0 < total <= 2**31 - 1:
        assert bounds is None
        return
    assert bounds is not None
    for one in {drawn, *(bound + at_edge for bound in bounds)}:
        if not 0 <= one < 2**32:
            continue
        bucket, expected = (one * total) >> 32, 0
        while bucket >= sum(sound[: expected + 1]):
            expected += 1
        assert pick(bounds, range(len(weights)), one) == expected
