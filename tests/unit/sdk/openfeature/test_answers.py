"""What a caller of OpenFeature gets for a flag of Vexil."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.track import TrackingEventDetails

from tests.unit.sdk.documents import flag
from tests.unit.sdk.openfeature.fake_client import NOT_READY, FakeClient
from vexil.sdk.openfeature import VexilProvider

STAFF = {"ends_with": [{"var": "email"}, "@vexil.example"]}


@pytest.fixture
def asking() -> Iterator[Callable[..., OpenFeatureClient]]:
    """Makes OpenFeature's client over a client of ours."""

    def make(client: FakeClient, **options: Any) -> OpenFeatureClient:
        api.set_provider_and_wait(VexilProvider(client, **options), "shop")
        return api.get_client("shop")

    yield make
    api.shutdown()


Asking = Callable[..., OpenFeatureClient]


@pytest.mark.parametrize(
    ("flag_type", "default", "expected"),
    [
        ("boolean", False, True),
        ("string", "", "yes"),
        ("integer", 1, 10),
        ("float", 0.1, 10.0),
        ("object", {}, {"a": [1, None]}),
    ],
)
async def test_a_flag_of_every_type(asking: Asking, flag_type: str, default: Any, expected: Any) -> None:
    client = asking(FakeClient({"f": flag(flag_type, metadata={"team": "web"})}))
    details = getattr(client, f"get_{flag_type}_details")("f", default)
    expected_details = FlagEvaluationDetails("f", expected, "on", {"team": "web"}, Reason.STATIC)
    assert details == expected_details
    assert type(details.value) is type(expected)
    assert await getattr(client, f"get_{flag_type}_details_async")("f", default) == expected_details


def test_rules_see_the_context(asking: Asking) -> None:
    rules = [{"id": "r1", "if": STAFF, "serve": "off"}]
    client = asking(FakeClient({"f": flag(rules=rules)}))
    ann = EvaluationContext("u1", {"email": "ann@vexil.example"})
    found = client.get_boolean_details("f", True, ann)
    assert (found.value, found.variant, found.reason) == (False, "off", Reason.TARGETING_MATCH)
    assert client.get_boolean_details("f", False, EvaluationContext("u1")).reason is Reason.DEFAULT


@pytest.mark.parametrize("default", [1, 1.0])
def test_a_flag_that_is_off_gives_the_default_of_the_code(asking: Asking, default: float) -> None:
    client = asking(FakeClient({"f": flag("float", enabled=False)}))
    found = client.get_float_details("f", default)
    assert (found.value, found.variant, found.reason, found.error_code) == (1.0, None, Reason.DISABLED, None)


def test_numbers_convert_where_nothing_is_lost(asking: Asking) -> None:
    client = asking(FakeClient({"whole": flag("integer"), "half": flag("float", default="off")}))
    assert client.get_float_value("whole", 0.0) == 10.0
    lost = client.get_integer_details("half", 3)
    assert (lost.value, lost.error_code) == (3, ErrorCode.TYPE_MISMATCH)


def test_what_fails_gives_the_default_and_says_why(asking: Asking) -> None:
    broken = flag(rules=[{"id": "r1", "if": {"no_such_operator": []}, "serve": "on"}])
    client = asking(FakeClient({"broken": broken, "text": flag("string")}))
    for key, code in (
        ("missing", ErrorCode.FLAG_NOT_FOUND),
        ("broken", ErrorCode.PARSE_ERROR),
        ("text", ErrorCode.TYPE_MISMATCH),
    ):
        found = client.get_boolean_details(key, True)
        assert (found.value, found.reason, found.error_code) == (True, Reason.ERROR, code)
        assert found.error_message


def test_without_any_flags_the_provider_says_that_it_is_not_ready() -> None:
    provider = VexilProvider(FakeClient(status=NOT_READY))
    found = provider.resolve_boolean_details("f", True)
    assert (found.value, found.error_code) == (True, ErrorCode.PROVIDER_NOT_READY)


def test_a_list_can_be_the_default_of_an_object(asking: Asking) -> None:
    client = asking(FakeClient({"f": flag("object", enabled=False)}))
    assert client.get_object_value("f", [1, 2]) == [1, 2]


def test_what_a_caller_does_with_an_answer_harms_nobody(asking: Asking) -> None:
    client = asking(FakeClient({"f": flag("object", metadata={"team": "web"})}))
    first: Any = client.get_object_details("f", {})
    first.value["a"].append("mine")
    first.flag_metadata["team"] = "mine"
    second = client.get_object_details("f", {})
    assert (second.value, second.flag_metadata) == ({"a": [1, None]}, {"team": "web"})


class Seen(Hook):
    def __init__(self) -> None:
        self.seen: list[tuple[str, object]] = []

    def after(self, hook_context: HookContext, details: FlagEvaluationDetails[Any], hints: HookHints) -> None:
        self.seen.append((details.flag_key, details.value))


def test_hooks_of_the_provider_run(asking: Asking) -> None:
    hook = Seen()
    asking(FakeClient({"f": flag()}), hooks=[hook]).get_boolean_value("f", False)
    assert hook.seen == [("f", True)]


def test_the_provider_says_its_name(asking: Asking) -> None:
    asking(FakeClient())
    assert api.get_provider_metadata("shop").name == "Vexil"


def test_what_the_application_tracks_is_passed_on(asking: Asking) -> None:
    tracked: list[Any] = []
    client = asking(FakeClient(), on_track=lambda *event: tracked.append(event))
    details = TrackingEventDetails(9.5, {"currency": "EUR"})
    client.track("bought", EvaluationContext("u1", {"plan": "gold"}), details)
    client.track("left")
    assert tracked == [
        ("bought", {"plan": "gold", "targetingKey": "u1"}, details),
        ("left", {}, None),
    ]


def test_a_callback_that_fails_does_not_end_the_caller(
    asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the queue is full")

    with caplog.at_level(logging.ERROR, "vexil.sdk"):
        asking(FakeClient(), on_track=fail).track("bought")
    assert "the callback for tracking failed" in caplog.text


def test_tracking_into_nothing_does_nothing(asking: Asking) -> None:
    asking(FakeClient()).track("bought", EvaluationContext("u1"))
