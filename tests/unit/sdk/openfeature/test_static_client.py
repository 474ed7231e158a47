"""A user's own tests: OpenFeature over flags that are set in code."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue

import pytest
from openfeature import api
from openfeature.event import EventDetails, ProviderEvent
from openfeature.provider import ProviderStatus

from vexil.sdk.openfeature import VexilProvider
from vexil.sdk.testing import StaticClient

WAIT_S = 20.0


@pytest.fixture
def flags() -> Iterator[StaticClient]:
    client = StaticClient({"checkout": True, "limit": 5})
    api.set_provider_and_wait(VexilProvider(client), "shop")
    yield client
    api.shutdown()


def heard(event: ProviderEvent) -> Queue[EventDetails]:
    told: Queue[EventDetails] = Queue()
    api.get_client("shop").add_handler(event, told.put)
    return told


def test_flags_are_as_they_were_set(flags: StaticClient) -> None:
    client = api.get_client("shop")
    assert client.get_boolean_value("checkout", False) is True
    assert client.get_integer_value("limit", 0) == 5
    assert client.get_float_value("limit", 0.0) == 5.0


def test_a_flag_that_is_set_anew_is_told(flags: StaticClient) -> None:
    changes = heard(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    flags.set("checkout", False)
    assert changes.get(timeout=WAIT_S).flags_changed == ["checkout"]
    assert api.get_client("shop").get_boolean_value("checkout", True) is False


def test_a_status_that_is_set_is_told(flags: StaticClient) -> None:
    stale, ready, failed = map(
        heard,
        (ProviderEvent.PROVIDER_STALE, ProviderEvent.PROVIDER_READY, ProviderEvent.PROVIDER_ERROR),
    )
    ready.get(timeout=WAIT_S)
    flags.set_status(stale_since=1_800_000_000.0)
    stale.get(timeout=WAIT_S)
    assert api.get_client("shop").get_provider_status() is ProviderStatus.STALE
    flags.set_status(ready=False)
    failed.get(timeout=WAIT_S)
    flags.set_status()
    ready.get(timeout=WAIT_S)
    assert api.get_client("shop").get_provider_status() is ProviderStatus.READY
