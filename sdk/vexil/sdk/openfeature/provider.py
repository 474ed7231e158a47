"""The provider: OpenFeature's interface, each method a translation around one call of the client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType
from openfeature.hook import Hook
from openfeature.provider import AbstractProvider, Metadata

from vexil.sdk.client.reading import Context, Details, real
from vexil.sdk.client.status import Status
from vexil.sdk.openfeature.answers import resolution_of
from vexil.sdk.openfeature.contexts import context_of
from vexil.sdk.openfeature.events import Teller

if TYPE_CHECKING:
    from openfeature.track import TrackingEventDetails  # not in every version that this provider works with

READY_TIMEOUT_S: Final = 10.0

OnTrack = Callable[[str, Mapping[str, Any], "TrackingEventDetails | None"], object]
"""Gets the name of an event, its context (``targetingKey`` among it), and what was given with it."""

_log = logging.getLogger("vexil.sdk")


class FlagClient(Protocol):
    """What the provider asks of a client; `vexil.sdk.Client` and `vexil.sdk.testing.StaticClient` have it."""

    @property
    def status(self) -> Status:
        """How it is now."""

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for flags to answer from, at most ``timeout_s``; whether there are any."""

    def on_change(self, callback: Callable[[frozenset[str]], object]) -> Callable[[], None]:
        """Call back with the flags that may answer otherwise; the result ends that."""

    def on_status(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        """Call back with every other status; the result ends that."""

    def close(self) -> None:
        """Stop following; calls go on being answered."""

    def boolean_details(self, key: str, default: bool, context: Context = None) -> Details:  # noqa: FBT001 - a value
        """A boolean flag."""

    def string_details(self, key: str, default: str, context: Context = None) -> Details:
        """A string flag."""

    def integer_details(self, key: str, default: int, context: Context = None) -> Details:
        """An integer flag."""

    def float_details(self, key: str, default: float, context: Context = None) -> Details:
        """A float flag."""

    def object_details(self, key: str, default: dict[str, Any], context: Context = None) -> Details:
        """An object flag."""


class VexilProvider(AbstractProvider):
    """Answers OpenFeature's questions from ``client``, without I/O.

    ``hooks`` run for every evaluation. ``on_track`` gets what the application tracks, in the thread that tracks it and
    before ``track`` returns; without it, tracking does nothing. ``ready_timeout_s`` bounds ``initialize``.
    ``owns_client``: the client is closed when OpenFeature shuts the provider down; say False if others use it too, or
    if the provider is to be registered again.
    """

    def __init__(
        self,
        client: FlagClient,
        *,
        hooks: Iterable[Hook] = (),
        on_track: OnTrack | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
        owns_client: bool = True,
    ) -> None:
        super().__init__()
        self._client = client
        self._hooks = list(hooks)
        self._on_track = on_track
        self._ready_timeout_s = ready_timeout_s
        self._owns_client = owns_client
        self._metadata = Metadata(name="Vexil")
        self._teller = Teller(self, lambda: client.status, self.emit)
        self._unsubscribe: tuple[Callable[[], None], ...] = ()

    # -- life

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Wait for the client; STALE follows READY if its flags may be old. Raises ProviderNotReadyError without flags.

        The client goes on trying then, and READY follows when it has succeeded.
        """
        client, teller = self._client, self._teller
        self._stop_telling()
        teller.start()
        self._unsubscribe = (
            client.on_status(lambda _: teller.tell_status()),
            client.on_change(teller.tell_changes),
        )
        if not client.wait_ready(self._ready_timeout_s):
            raise ProviderNotReadyError(client.status.error or "there is no flag set yet")

    def shutdown(self) -> None:
        """Stop telling of events, and close the client if it is the provider's."""
        self._stop_telling()
        if self._owns_client:
            self._client.close()

    def _stop_telling(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = ()
        self._teller.stop()

    # -- what it is

    def get_metadata(self) -> Metadata:
        """Its name."""
        return self._metadata

    def get_provider_hooks(self) -> list[Hook]:
        """The hooks that it was made with."""
        return self._hooks

    # -- evaluating; OpenFeature's asynchronous variants call these, which never wait

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001 - a value, no switch
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """A boolean flag."""
        return resolution_of(
            self._client.boolean_details(flag_key, default_value, context_of(evaluation_context))
        )

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """A string flag."""
        return resolution_of(
            self._client.string_details(flag_key, default_value, context_of(evaluation_context))
        )

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """An integer flag, or a float flag that is whole."""
        return resolution_of(
            self._client.integer_details(flag_key, default_value, context_of(evaluation_context))
        )

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """A float flag, or an integer flag."""
        if type(default_value) is not float:
            # OpenFeature would refuse a default of 1 as no float where it becomes the value.
            converted = real(default_value)
            default_value = default_value if converted is None else converted
        return resolution_of(
            self._client.float_details(flag_key, default_value, context_of(evaluation_context))
        )

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """An object flag. A list can only be a default."""
        default: Any = default_value
        return resolution_of(self._client.object_details(flag_key, default, context_of(evaluation_context)))

    # -- tracking

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Pass an event on to ``on_track``. What that raises is logged, not raised."""
        if self._on_track is None:
            return
        try:
            self._on_track(tracking_event_name, context_of(evaluation_context) or {}, tracking_event_details)
        except Exception:  # noqa: BLE001 - what counting raises must not end what is counted
            _log.exception("the callback for tracking failed")
