"""The typed calls: right values, the caller's default with a reason for everything else, and never an exception."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.unit.sdk.documents import flag
from vexil.sdk import codes
from vexil.sdk.client import NOT_READY, not_there
from vexil.sdk.client.reading import WithContext
from vexil.sdk.errors import ClientMisconfigured
from vexil.sdk.limits import UNKNOWN_KEPT_MAX
from vexil.sdk.testing import StaticClient

VALUES: dict[str, Any] = {"b": True, "s": "red", "i": 3, "f": 0.5, "o": {"a": [1, {"b": None}]}, "w": 10.0}


class Broken(Mapping[str, Any]):
    """A context that fails when it is read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


@pytest.fixture
def client() -> StaticClient:
    return StaticClient(VALUES)


def test_every_type_has_its_call(client: StaticClient) -> None:
    assert client.boolean("b", False) is True
    assert client.string("s", "") == "red"
    assert client.integer("i", 0) == 3
    assert client.float("f", 0.0) == 0.5
    assert client.object("o", {}) == VALUES["o"]


def test_details_say_the_variant_and_the_reason(client: StaticClient) -> None:
    for details in (
        client.boolean_details("b", False),
        client.string_details("s", ""),
        client.integer_details("i", 0),
        client.float_details("f", 0.0),
        client.object_details("o", {}),
    ):
        assert (details.value, details.variant) == (VALUES[details.key], "value")
        assert (details.reason, details.error_code) == (codes.STATIC, None)


def test_falsy_values_are_values() -> None:
    client = StaticClient({"b": False, "s": "", "i": 0, "f": 0.0, "o": {}})
    assert client.boolean("b", True) is False
    assert client.string("s", "x") == ""
    assert client.integer("i", 1) == 0
    assert client.float("f", 1.0) == 0.0
    assert client.object("o", {"x": 1}) == {}


@pytest.mark.parametrize("key", ["b", "s", "i", "f", "o"])
@pytest.mark.parametrize("kind", ["boolean", "string", "integer", "float", "object"])
def test_a_value_of_another_type_is_a_mismatch(client: StaticClient, kind: str, key: str) -> None:
    default = {"boolean": False, "string": "d", "integer": 77, "float": 7.5, "object": {"d": 1}}[kind]
    details = getattr(client, f"{kind}_details")(key, default)
    assert getattr(client, kind)(key, default) == details.value
    if kind[0] == key:
        assert details.value == VALUES[key]
    elif (kind, key) == ("float", "i"):
        assert (details.value, type(details.value)) == (3.0, float)
    else:
        assert details.value is default
        assert (details.reason, details.error_code, details.variant) == (codes.ERROR, codes.TYPE_MISMATCH, "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(10.0, 10), (-3.0, -3), (0.5, 77), (2.0**53 - 1, 2**53 - 1), (2.0**53, 77), (-(2.0**60), 77)],
)
def test_a_float_is_an_integer_if_nothing_is_lost(value: float, expected: int) -> None:
    client = StaticClient({"x": value})
    assert client.integer("x", 77) == expected
    assert type(client.integer_details("x", 77).value) is int
    assert client.integer_details("x", 77).error_code == (None if expected != 77 else codes.TYPE_MISMATCH)


@pytest.mark.parametrize(("value", "expected"), [(10, 10.0), (2**53 - 1, 2.0**53 - 1), (2**53 + 1, 0.25)])
def test_an_integer_is_a_float_if_nothing_is_lost(value: int, expected: float) -> None:
    client = StaticClient({"x": value})
    assert client.float("x", 0.25) == expected
    assert type(client.float("x", 0.25)) is float
    assert client.float_details("x", 0.25).value == expected


def test_booleans_are_no_numbers(client: StaticClient) -> None:
    assert client.integer("b", 5) == 5
    assert client.float("b", 5.5) == 5.5


def test_a_default_of_another_type_is_a_mismatch_where_it_is_needed(client: StaticClient) -> None:
    client.set_document("d", flag(default=None))
    wrong: Any = "yes"
    assert client.boolean_details("b", wrong).value is True
    details = client.boolean_details("d", wrong)
    assert (details.value, details.reason, details.error_code) == ("yes", codes.ERROR, codes.TYPE_MISMATCH)
    value: object = client.boolean("d", wrong)
    assert value == "yes"
    details = client.boolean_details("unknown", wrong)
    assert (details.value, details.error_code) == ("yes", codes.FLAG_NOT_FOUND)


def test_a_flag_without_a_value_gives_the_default_and_says_why(client: StaticClient) -> None:
    client.set_document("off", flag(enabled=False, metadata={"owner": "me"}))
    client.set_document("none", flag(default=None))
    details = client.boolean_details("off", True)
    assert (details.value, details.reason, details.error_code) == (True, codes.DISABLED, None)
    assert details.metadata == {"owner": "me"}
    details = client.boolean_details("none", True)
    assert (details.value, details.reason, details.error_code) == (True, codes.DEFAULT, None)


def test_an_unknown_flag_gives_the_default(client: StaticClient) -> None:
    defaults: dict[str, tuple[Any, ...]] = {
        "boolean": (True, False, 1, None),
        "string": ("d",),
        "integer": (77, True),
        "float": (7.5,),
        "object": ({"d": 1},),
    }
    for kind, each in defaults.items():
        for default in (*each, *each):
            assert getattr(client, kind)("unknown", default) is default
            details = getattr(client, f"{kind}_details")("unknown", default)
            assert details.value is default
            assert (details.key, details.variant, dict(details.metadata)) == ("unknown", "", {})
            assert (details.reason, details.error_code) == (codes.ERROR, codes.FLAG_NOT_FOUND)
            assert details.error_details == "there is no flag 'unknown'"


def test_an_unknown_flag_asked_about_with_no_context_at_all_is_the_contexts_error(
    client: StaticClient,
) -> None:
    context: Any = 7
    assert client.boolean_details("unknown", True, context).error_code == codes.INVALID_CONTEXT
    assert client.boolean_details("unknown", True, Broken()).error_code == codes.GENERAL


def test_answers_for_unknown_keys_are_kept_and_bounded() -> None:
    client = StaticClient()
    for n in range(2 * UNKNOWN_KEPT_MAX + 10):
        details = client.boolean_details(f"unknown-{n}", n % 2 == 0)
        assert (details.key, details.value) == (f"unknown-{n}", n % 2 == 0)
    assert client.boolean_details("unknown", True) is client.boolean_details("unknown", True)
    long = "x" * 100_000
    assert client.boolean_details(long, True).error_code == codes.FLAG_NOT_FOUND
    for answers in (not_there.TRUE, not_there.FALSE):
        assert 0 < len(answers) <= UNKNOWN_KEPT_MAX
        assert long not in answers


def test_an_unknown_flag_that_comes_is_answered(client: StaticClient) -> None:
    assert client.boolean_details("new", False).error_code == codes.FLAG_NOT_FOUND
    client.set("new", True)
    assert client.boolean("new", False) is True
    assert client.boolean_details("new", False).error_code is None
    client.remove("new")
    assert client.boolean("new", False) is False


@pytest.mark.parametrize("key", [None, 3, [], {}, object(), b"b", float("nan")])
@pytest.mark.parametrize("kind", ["boolean", "string", "integer", "float", "object"])
def test_what_is_no_key_is_no_exception(client: StaticClient, kind: str, key: Any) -> None:
    default = {"boolean": False, "string": "d", "integer": 77, "float": 7.5, "object": {"d": 1}}[kind]
    assert getattr(client, kind)(key, default) == default
    details = getattr(client, f"{kind}_details")(key, default)
    assert details.value == default
    assert details.reason == codes.ERROR
    assert details.error_code in {codes.FLAG_NOT_FOUND, codes.GENERAL}


@pytest.mark.parametrize("context", [7, "x", [1], object(), Broken()], ids=lambda value: type(value).__name__)
def test_what_is_no_context_is_no_exception(client: StaticClient, context: Any) -> None:
    assert client.boolean("b", False, context) is False
    details = client.boolean_details("b", False, context)
    assert (details.value, details.reason) == (False, codes.ERROR)
    assert details.error_code in {codes.INVALID_CONTEXT, codes.GENERAL}


def test_a_context_may_be_any_mapping_or_none() -> None:
    class Attributes(dict[str, Any]):
        pass

    rule = {"id": "r", "if": {"==": [{"var": "plan"}, "gold"]}, "serve": "on"}
    client = StaticClient()
    client.set_document("a", flag(default="off", rules=[rule]))
    assert client.boolean("a", True) is False
    assert client.boolean("a", False, {"plan": "gold"}) is True
    assert client.boolean("a", False, Attributes(plan="gold")) is True


def test_an_object_is_the_callers_own(client: StaticClient) -> None:
    for found in (client.object("o", {}), client.object_details("o", {}).value):
        found["a"][1]["b"] = "changed"
        found.clear()
        assert client.object("o", {}) == {"a": [1, {"b": None}]}


def test_before_there_is_a_set_everything_is_the_default() -> None:
    client = StaticClient({"b": True}, ready=False)
    assert client.boolean("b", False) is False
    details = client.boolean_details("b", False)
    assert (details.reason, details.error_code) == (codes.ERROR, NOT_READY)


def test_the_context_of_the_client_is_below_that_of_the_call() -> None:
    seen: list[dict[str, Any]] = []
    inner = StaticClient({"b": True})

    def function(context: dict[str, Any], now: Any) -> Any:
        seen.append(context)
        return inner.boolean_details("b", False)

    functions: Any = {"b": function}
    merged = WithContext(functions, {"b": 1}, {"app": "shop", "plan": "free"})
    given = {"plan": "gold"}
    for _ in range(2):
        assert merged["b"](given, lambda: 0.0).value is True
    assert seen == [{"app": "shop", "plan": "gold"}] * 2
    assert given == {"plan": "gold"}


def test_a_test_may_let_a_flag_fail_and_mend_it(client: StaticClient) -> None:
    client.fail("b", codes.PARSE_ERROR)
    assert client.boolean("b", False) is False
    assert client.boolean_details("b", False).error_code == codes.PARSE_ERROR
    client.set("b", True)
    assert client.boolean("b", False) is True
    client.remove("b")
    assert client.boolean_details("b", False).error_code == codes.FLAG_NOT_FOUND


def test_a_test_hears_of_changes_as_a_service_does(client: StaticClient) -> None:
    keys: list[frozenset[str]] = []
    told: list[bool] = []
    stop = client.on_change(keys.append)
    client.on_status(lambda status: told.append(status.healthy))
    client.set("b", False)
    client.set("b", False)
    client.set_status(stale_since=5.0)
    client.set_status()
    stop()
    client.set("b", True)
    assert keys == [frozenset({"b"})]
    assert told == [False, True]


def test_a_view_stays_as_it_is(client: StaticClient) -> None:
    view = client.view()
    client.set("b", False)
    assert view.boolean("b", False) is True
    assert client.boolean("b", True) is False


def test_what_no_flag_can_be_is_refused() -> None:
    with pytest.raises(ClientMisconfigured, match="NoneType"):
        StaticClient({"x": None})
