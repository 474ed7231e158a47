"""OFREP bodies, tags and contexts."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from tests.unit.sdk.documents import ask, flag
from vexil.sdk import ABSENT, Evaluation, FlagSet, InvalidContext, ofrep
from vexil.sdk.limits import CONTEXT_BYTES_MAX, CONTEXT_DEPTH_MAX


def single(document: Any, context: Any = None) -> tuple[int, bytes]:
    return ofrep.single(ask(FlagSet(flags={"f": document}), "f", context))


def test_a_success_is_sorted_compact_json() -> None:
    status, body = single(flag("object", metadata={"b": 1, "a": "x"}))
    assert status == 200
    assert body == (
        b'{"key":"f","metadata":{"a":"x","b":1},"reason":"STATIC","value":{"a":[1,null]},"variant":"on"}'
    )


def test_falsy_values_are_values() -> None:
    for flag_type, value in (("boolean", b"false"), ("string", b'""'), ("integer", b"0"), ("object", b"{}")):
        assert b'"value":' + value + b"," in single(flag(flag_type, default="off"))[1]


def test_no_value_is_no_member_and_the_variant_is_always_there() -> None:
    status, body = single(flag(enabled=False))
    assert (status, body) == (200, b'{"key":"f","reason":"DISABLED","variant":""}')


def test_numbers_of_float_flags_have_a_point_and_integers_none() -> None:
    assert b'"value":10.0,' in single(flag("float"))[1]
    assert b'"value":10,' in single(flag("integer"))[1]


@pytest.mark.parametrize(
    ("targeting", "code"), [({"?!": 1}, "PARSE_ERROR"), ({"cat": ["gone"]}, "GENERAL")], ids=str
)
def test_a_failure_says_key_code_and_details(targeting: Any, code: str) -> None:
    status, body = single(flag(targeting=targeting))
    decoded = json.loads(body)
    assert (status, decoded["key"], decoded["errorCode"]) == (400, "f", code)
    assert decoded["errorDetails"]


def test_an_unknown_flag_is_404() -> None:
    status, body = ofrep.single(ask(FlagSet(), "a/b"))
    assert status == 404
    assert json.loads(body)["errorCode"] == "FLAG_NOT_FOUND"


def test_bulk_is_sorted_by_key_and_holds_failures_and_flags_without_value() -> None:
    flags = {"b": flag(), "a": flag(targeting={"?!": 1}), "c": flag(enabled=False)}
    flag_set = FlagSet(flags=flags)
    response = ofrep.bulk([ask(flag_set, key) for key in flags], metadata={"version": "7"})
    decoded = json.loads(response.body)
    assert response.status == 200
    assert [item["key"] for item in decoded["flags"]] == ["a", "b", "c"]
    assert decoded["flags"][0]["errorCode"] == "PARSE_ERROR"
    assert "value" not in decoded["flags"][2]
    assert decoded["metadata"] == {"version": "7"}
    assert ofrep.bulk([]).body == b'{"flags":[]}'


def test_event_streams_are_passed_on() -> None:
    stream = {"type": "sse", "endpoint": {"requestUri": "/ofrep/v1/sse?ticket=t"}}
    assert json.loads(ofrep.bulk([], event_streams=[stream]).body)["eventStreams"] == [stream]


def test_one_value_that_is_not_json_does_not_take_the_others_with_it() -> None:
    bad = Evaluation("a", {"x": float("inf")}, "on", "STATIC")
    good = Evaluation("b", True, "on", "STATIC")
    decoded = json.loads(ofrep.bulk([good, bad]).body)
    assert [item.get("errorCode") for item in decoded["flags"]] == ["GENERAL", None]
    assert ofrep.single(bad).status == 400


def test_equal_answers_have_equal_bytes_whatever_the_order_they_were_made_in() -> None:
    one = [
        Evaluation("a", {"x": 1, "y": 2}, "on", "STATIC", metadata={"m": 1, "n": 2}),
        Evaluation("b", 1, "", "S"),
    ]
    two = [
        Evaluation("b", 1, "", "S"),
        Evaluation("a", {"y": 2, "x": 1}, "on", "STATIC", metadata={"n": 2, "m": 1}),
    ]
    assert ofrep.bulk(one).body == ofrep.bulk(two).body


def test_the_tag_is_the_hash_of_the_body_in_quotes() -> None:
    assert ofrep.entity_tag(b"") == '"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"'


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, False),
        ("", False),
        ('"abc"', True),
        ("abc", True),
        ('W/"abc"', True),
        ("W/abc", True),
        ('"x", W/"abc" , "y"', True),
        ("x,abc", True),
        (" * ", True),
        ('"*"', False),
        ('"abcd"', False),
        ('"ab", "c"', False),
        ('"x,abc,y"', False),
    ],
)
def test_if_none_match(header: str | None, *, found: bool) -> None:
    assert ofrep.matches(header, '"abc"') is found


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b'{"context":null}', b'{"context":{}}'])
def test_a_missing_context_is_an_empty_one(body: bytes) -> None:
    assert ofrep.read_context(body) == {}


def test_a_context_is_given_as_it_is() -> None:
    assert ofrep.read_context(b'{"context":{"targetingKey":"u","n":[1,2.0]}}') == {
        "targetingKey": "u",
        "n": [1, 2.0],
    }


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"context":[]}',
        b'{"context":"u"}',
        b'{"context":{"x":NaN}}',
        b'{"context":{"x":' + b"9" * 5000 + b"}}",
        b'{"context":{"x":' + b"[" * 100_000,
        b'{"context":{"x":1e999}}',
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)
def test_what_is_no_context_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidContext):
        ofrep.read_context(body)


def test_a_context_is_bounded_in_depth_and_bytes() -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(CONTEXT_DEPTH_MAX - 1):
        deep = {"x": deep}
    ofrep.check_context(deep)
    with pytest.raises(InvalidContext, match="levels"):
        ofrep.check_context({"x": deep})
    with pytest.raises(InvalidContext, match="levels"):
        ofrep.read_context(json.dumps({"context": {"x": deep}}).encode())

    empty = len('{"x":""}')
    ofrep.check_context({"x": "ü" * ((CONTEXT_BYTES_MAX - empty) // 2)})
    with pytest.raises(InvalidContext, match="bytes"):
        ofrep.check_context({"x": "ü" * ((CONTEXT_BYTES_MAX - empty) // 2 + 1)})


def test_a_refused_context_is_a_400_of_the_protocol() -> None:
    status, body = ofrep.invalid_context("too deep", key="f")
    assert (status, json.loads(body)) == (
        400,
        {"key": "f", "errorCode": "INVALID_CONTEXT", "errorDetails": "too deep"},
    )
    assert "key" not in json.loads(ofrep.invalid_context("too deep").body)


def test_absent_is_one_object() -> None:
    assert copy.deepcopy(ABSENT) is ABSENT
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT  # noqa: S301 - our own bytes
