"""The HTTP interface of a simulated process, for the routes that an SDK asks: everything but the framework's wire.

The one idea: a request is the framework's own object and takes the way of every request of the node (who calls, the
token, the handler, the headers). Only what parses and writes HTTP, and what counts, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Final, cast

import trio
from werkzeug.datastructures import Headers

from vexil.chaos.world.simulated_clock import SeededEntropy, SimulatedClock
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.api import access_keys, sdk_flags, sdk_stream
from vexil.node.api.auth import Authenticator
from vexil.node.api.dispatch import answered
from vexil.node.api.documents import Documents
from vexil.node.api.exchange import Answer, Services
from vexil.node.api.flag_set_documents import FlagSetDocuments
from vexil.node.api.flag_set_patches import FlagSetPatches
from vexil.node.api.limits import ApiLimits
from vexil.node.api.request_body import BoundedBody, bounded
from vexil.node.api.tickets import SECRET_BYTES, Tickets
from vexil.node.authoring.settings import create_key
from vexil.node.engine import Engine
from vexil.node.metrics import Metrics
from vexil.node.telemetry import Silence

FASTER: Final = 10
"""A run lasts some tens of seconds: what a stream waits for comes so many times as soon as in production."""
LIMITS: Final = replace(
    ApiLimits(),
    stream_heartbeat_s=ApiLimits().stream_heartbeat_s / FASTER,
    stream_piece_timeout_s=ApiLimits().stream_piece_timeout_s / FASTER,
    stream_retry_ms_min=ApiLimits().stream_retry_ms_min // FASTER,
    stream_retry_ms_max=ApiLimits().stream_retry_ms_max // FASTER,
)
_ROUTES: Final = {route.path: route for route in (*sdk_flags.ROUTES, *sdk_stream.ROUTES)}
_REQUEST: Final = bounded(LIMITS)
_SECRET: Final = "s" * access_keys.SECRET_CHARACTERS_MIN


def key_of(environment: str) -> str:
    """The server key of an environment."""
    return f"{access_keys.PREFIXES[access_keys.SERVER]}sdk-{environment}_{_SECRET}"


async def make_key(engine: Engine, project: str, environment: str) -> None:
    """Write the key that `key_of` names. Raises ApiError."""
    presented = access_keys.parse(key_of(environment))
    assert presented is not None, "it has the form of a key"
    record = access_keys.record(
        kind=presented.kind,
        hash_hex=access_keys.hash_of(key_of(environment)),
        project=project,
        environment=environment,
    )
    await engine.write(
        SYSTEM_PROJECT, lambda system: create_key(system, presented.id, record), author="setup"
    )


class NodeInterface:
    """The interface of one process."""

    def __init__(
        self, engine: Engine, clock: SimulatedClock, rng: Random, on_error: Callable[[str], None]
    ) -> None:
        """``on_error`` is told of what the node's log says of errors of our own."""
        entropy = SeededEntropy(rng)
        self._services = Services(
            node=engine,
            clock=clock,
            entropy=entropy,
            rng=rng,
            log=_Log(on_error),
            metrics=_Uncounted(),
            limits=LIMITS,
            authenticator=Authenticator(lambda: engine.directory.keys, cached_max=LIMITS.keys_cached_max),
            documents=Documents(kept_max=LIMITS.documents_cached_max),
            flag_sets=FlagSetDocuments(kept_max=LIMITS.sets_cached_max),
            patches=FlagSetPatches(),
            tickets=Tickets(entropy.token_bytes(SECRET_BYTES)),
            links=None,
            token_waits=trio.CapacityLimiter(LIMITS.token_waits_max),
            imports=trio.CapacityLimiter(LIMITS.imports_max),
        )

    async def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """The answer to a GET of one of the SDK's paths."""
        request = _REQUEST(
            "GET", "http", path, b"", Headers(dict(headers)), "", "1.1", {}, send_push_promise=_push
        )
        cast(BoundedBody, request.body).set_complete()
        return await answered(_ROUTES[path], self._services, request, {})


async def _push(path: str, _: Headers) -> None:
    raise AssertionError(f"nothing pushes {path}")


class _Log(Silence):
    """Tells of errors; the rest is dropped."""

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error

    def error(self, event: str, **facts: object) -> None:
        self._on_error(f"{event}: {facts}")


class _Uncounted(Metrics):
    """Counts nothing: counters ask for the real time."""

    def __init__(self) -> None:
        """Without any counter."""

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Nothing."""

    def count_stream_event(self, kind: str, event: str) -> None:
        """Nothing."""

    def count_stream_end(self, kind: str, reason: str) -> None:
        """Nothing."""
