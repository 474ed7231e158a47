"""What OpenFeature is told of the provider, and believes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from queue import Queue
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.provider import ProviderStatus

from tests.unit.sdk.documents import flag
from tests.unit.sdk.openfeature.fake_client import FROM_DISK, HEALTHY, NOT_READY, STALE, FakeClient
from vexil.sdk.openfeature import VexilProvider

WAIT_S = 20.0
READY = ProviderEvent.PROVIDER_READY
CHANGED = ProviderEvent.PROVIDER_CONFIGURATION_CHANGED
WENT_STALE = ProviderEvent.PROVIDER_STALE
FAILED = ProviderEvent.PROVIDER_ERROR


class Listener:
    """Hears the events of one domain."""

    def __init__(self, domain: str) -> None:
        self.client: OpenFeatureClient = api.get_client(domain)
        self._heard: dict[ProviderEvent, Queue[EventDetails]] = {event: Queue() for event in ProviderEvent}
        for event in ProviderEvent:
            self.client.add_handler(event, partial(self._hear, event))

    def _hear(self, event: ProviderEvent, details: EventDetails) -> None:
        if details.provider_name == "Vexil":  # not the one that answers before there is any
            self._heard[event].put(details)

    def next(self, event: ProviderEvent) -> EventDetails:
        """The next event of a kind; waits for it."""
        return self._heard[event].get(timeout=WAIT_S)

    def heard_nothing(self, event: ProviderEvent) -> bool:
        return self._heard[event].empty()

    def status(self) -> ProviderStatus:
        """What OpenFeature believes."""
        return self.client.get_provider_status()


@pytest.fixture
def register() -> Iterator[Callable[..., Listener]]:
    """Registers a provider over a client of ours and waits for it."""

    def make(client: FakeClient, **options: Any) -> Listener:
        # Somebody listens before there is a provider: nothing is missed.
        listener = Listener("shop")
        api.set_provider_and_wait(VexilProvider(client, **options), "shop")
        return listener

    yield make
    api.shutdown()


Register = Callable[..., Listener]


def test_a_provider_with_fresh_flags_is_ready(register: Register) -> None:
    client = FakeClient({"f": flag()})
    listener = register(client, ready_timeout_s=3.5)
    assert listener.next(READY).provider_name == "Vexil"
    assert listener.status() is ProviderStatus.READY
    assert client.waited_s == 3.5


def test_a_provider_that_starts_from_old_flags_is_stale_and_answers(register: Register) -> None:
    listener = register(FakeClient({"f": flag()}, FROM_DISK))
    told = listener.next(WENT_STALE)
    assert listener.status() is ProviderStatus.STALE
    assert told.message == "no node answers"
    assert told.metadata == {
        "source": "disk",
        "connection": "retrying",
        "stale_since": "2027-01-15T08:00:00Z",
    }
    assert listener.client.get_boolean_value("f", False) is True


def test_a_provider_without_flags_fails_and_recovers(register: Register) -> None:
    client = FakeClient(status=NOT_READY)
    with pytest.raises(ProviderNotReadyError):
        register(client)
    listener = Listener("shop")
    assert listener.next(FAILED) is not None
    assert listener.status() is ProviderStatus.ERROR
    found = listener.client.get_boolean_details("f", True)
    assert (found.value, found.error_code) == (True, ErrorCode.PROVIDER_NOT_READY)
    client.become(HEALTHY)
    listener.next(READY)
    assert listener.status() is ProviderStatus.READY


def test_losing_every_node_is_told_and_so_is_finding_one_again(register: Register) -> None:
    client = FakeClient({"f": flag()})
    listener = register(client)
    listener.next(READY)
    client.become(STALE)
    assert listener.next(WENT_STALE).metadata["url"] == "http://eu-1.example"
    assert listener.status() is ProviderStatus.STALE
    client.become(HEALTHY)
    listener.next(READY)
    assert listener.status() is ProviderStatus.READY


def test_a_status_that_says_nothing_new_is_not_told_again(register: Register) -> None:
    client = FakeClient({"f": flag()})
    listener = register(client)
    listener.next(READY)
    client.become(STALE)
    client.become(FROM_DISK)
    listener.next(WENT_STALE)
    client.become(HEALTHY)
    listener.next(READY)
    assert listener.heard_nothing(WENT_STALE)


@pytest.mark.parametrize("late", [STALE, NOT_READY])
def test_what_happens_while_openfeature_initialises_is_not_lost(register: Register, late: Any) -> None:
    class Leaving(FakeClient):
        """Healthy as long as it is waited for, and told of nothing later."""

        def wait_ready(self, timeout_s: float) -> bool:
            self.become(HEALTHY)
            self.status = late
            return True

    client = Leaving({"f": flag()})
    listener = register(client)
    listener.next(WENT_STALE if late is STALE else FAILED)
    assert listener.status() is (ProviderStatus.STALE if late is STALE else ProviderStatus.ERROR)


def test_flags_that_change_are_named(register: Register) -> None:
    client = FakeClient({"f": flag()})
    listener = register(client)
    client.change("f", "checkout", "a")
    assert listener.next(CHANGED).flags_changed == ["a", "checkout", "f"]
    assert listener.status() is ProviderStatus.READY


def test_a_provider_that_was_shut_down_says_nothing_and_closes_its_client(register: Register) -> None:
    client = FakeClient({"f": flag()})
    register(client)
    api.clear_providers()
    assert client.closed
    assert not client.on_statuses
    assert not client.on_changes


def test_a_client_that_others_use_stays_open(register: Register) -> None:
    client = FakeClient({"f": flag()})
    register(client, owns_client=False)
    api.clear_providers()
    assert not client.closed
    again = register(client, owns_client=False)
    again.next(READY)
    client.become(STALE)
    again.next(WENT_STALE)
    assert len(client.on_statuses) == 1


def test_two_providers_are_told_apart() -> None:
    try:
        one, other = FakeClient({"f": flag()}), FakeClient({"f": flag()}, STALE)
        listeners = {"one": Listener("one"), "other": Listener("other")}
        api.set_provider_and_wait(VexilProvider(one), "one")
        api.set_provider_and_wait(VexilProvider(other), "other")
        listeners["other"].next(WENT_STALE)
        assert listeners["one"].status() is ProviderStatus.READY
        assert listeners["other"].status() is ProviderStatus.STALE
        one.become(STALE)
        listeners["one"].next(WENT_STALE)
    finally:
        api.shutdown()
