"""From a client's status to the events of OpenFeature.

The one idea: a status is never remembered, it is compared. OpenFeature keeps its own view of a provider and sets it by
itself at times (READY when ``initialize`` returns, however old the flags are), so whoever has news looks at both sides
and says what is needed until they agree. That needs no lock, and no order between those who look.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.provider import FeatureProvider, ProviderStatus

from vexil.sdk.client.status import Status
from vexil.sdk.openfeature.contexts import time_text

Emit = Callable[[ProviderEvent, ProviderEventDetails], None]

ROUNDS_MAX: Final = 8
"""How often one piece of news may find that the other side has changed meanwhile; the next piece goes on."""
_SET_BY_OPENFEATURE: Final = (ProviderEvent.PROVIDER_READY, ProviderEvent.PROVIDER_ERROR)


class Teller:
    """Tells OpenFeature how the client of ``provider`` is, from ``start`` to ``stop``. From any thread."""

    def __init__(self, provider: FeatureProvider, status: Callable[[], Status], emit: Emit) -> None:
        self._observer = _Observer(provider)
        self._status = status
        self._emit = emit
        self._started = False

    def start(self) -> None:
        """From now on, what OpenFeature says of the provider by itself is put right where it is not so."""
        self._started = True
        for event in _SET_BY_OPENFEATURE:
            self._observer.add_handler(event, self._check)

    def stop(self) -> None:
        """Say nothing any more."""
        self._started = False
        for event in _SET_BY_OPENFEATURE:
            with suppress(ValueError):  # OpenFeature has thrown all handlers away
                self._observer.remove_handler(event, self._check)

    def tell_status(self) -> None:
        """Emit what is needed so that OpenFeature has the present status; nothing while it initialises."""
        for _ in range(ROUNDS_MAX):
            seen = self._observer.get_provider_status()
            status = self._status()
            event, wanted = _event_of(status)
            if not self._started or seen in {wanted, ProviderStatus.NOT_READY}:
                return
            self._emit(event, details_of(status))

    def tell_changes(self, keys: frozenset[str]) -> None:
        """The flags ``keys`` may answer otherwise now."""
        if self._started and self._observer.get_provider_status() is not ProviderStatus.NOT_READY:
            details = ProviderEventDetails(flags_changed=sorted(keys))
            self._emit(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, details)

    def _check(self, _: EventDetails) -> None:
        self.tell_status()


class _Observer(OpenFeatureClient):
    """Sees what OpenFeature has of one provider, whatever domain that is registered for."""

    def __init__(self, provider: FeatureProvider) -> None:
        super().__init__(domain=None, version=None)
        self._observed = provider

    @property
    def provider(self) -> FeatureProvider:
        return self._observed


def details_of(status: Status) -> ProviderEventDetails:
    """What an event says of ``status``: why, since when, which regions, by which node."""
    said: dict[str, bool | str | int | float] = {"source": status.source, "connection": status.connection}
    if status.url is not None:
        said["url"] = status.url
    if status.stale_since is not None:
        with suppress(ValueError, OverflowError, OSError):  # a clock far from any year
            said["stale_since"] = time_text(datetime.fromtimestamp(status.stale_since, UTC))
    if status.stale_regions:
        said["stale_regions"] = ",".join(status.stale_regions)
    code = None if status.ready else ErrorCode.PROVIDER_NOT_READY
    return ProviderEventDetails(message=status.error, error_code=code, metadata=said)


def _event_of(status: Status) -> tuple[ProviderEvent, ProviderStatus]:
    if not status.ready:
        return ProviderEvent.PROVIDER_ERROR, ProviderStatus.ERROR
    if status.stale_since is not None:
        return ProviderEvent.PROVIDER_STALE, ProviderStatus.STALE
    return ProviderEvent.PROVIDER_READY, ProviderStatus.READY
