"""Who gets in: a bound on the requests that are handled at one time, in front of everything else.

The bound comes before authentication, before routing and before the framework makes anything of a request: what is
refused here must cost next to nothing, or a crowd that comes back after an outage keeps the node from serving anyone.
What ``/healthz`` and ``/readyz`` say is never refused for load, so a crowd does not drain the node either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

from vexil.node.api import cors, event_stream, json_body
from vexil.node.api.exchange import Answer
from vexil.node.api.limits import ApiLimits
from vexil.node.api.problems import of, problem, say_when_to_come_back
from vexil.node.errors import RateLimited
from vexil.node.metrics import Metrics
from vexil.node.telemetry import Log

_STREAM: Final = event_stream.CONTENT_TYPE.encode()
HEALTH: Final = frozenset(("/healthz", "/readyz"))

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]


class Admission:
    """An ASGI app around another one."""

    def __init__(self, app: App, limits: ApiLimits, rng: Random, metrics: Metrics, log: Log) -> None:
        """Let at most ``limits.requests_max`` requests at a time into ``app``."""
        self._app = app
        self._limits = limits
        self._rng = rng
        self._metrics = metrics
        self._log = log
        self._inside = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request, connection or life span (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in HEALTH:
            await self._guarded(scope, receive, send)
        elif self._inside >= self._limits.requests_max:
            self._metrics.count_not_admitted()
            await _send(send, self._refusal(scope["path"]))
        else:
            self._inside += 1
            leave = _Once(self._leave)
            try:
                await self._guarded(scope, receive, _told_of_streams(send, leave))
            finally:
                leave()

    def _leave(self) -> None:
        self._inside -= 1

    async def _guarded(self, scope: Any, receive: Receive, send: Send) -> None:
        """What goes wrong around our own code, in the framework, is answered and logged once like everything else."""
        started = gone = False

        async def send_on(message: Any) -> None:
            nonlocal started, gone
            started = gone = True
            await send(message)
            gone = False

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:  # noqa: BLE001 - the last boundary before the HTTP server
            if gone:
                # It was the sending that failed: that is between the server and its caller.
                self._log.info("an answer could not be sent", method=scope["method"], reason=repr(error))
                return
            self._log.error("the HTTP framework failed", method=scope["method"], exc_info=error)
            if not started:
                await _send(
                    send,
                    problem(500, "internal", "This node failed", "the node's log says why", definite=False),
                )

    def _refusal(self, path: str) -> Answer:
        answer = of(RateLimited(f"{self._limits.requests_max} requests are being handled here"))
        say_when_to_come_back(answer, self._limits, self._rng)
        if path.startswith(cors.PREFIX):
            cors.allow(answer, None)
        return answer


class _Once:
    """Calls something the first time that it is called itself."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


def _told_of_streams(send: Send, leave: Callable[[], None]) -> Send:
    """A ``send`` that lets a request leave once it has become a stream: those have a bound of their own."""

    async def send_on(message: Any) -> None:
        if message["type"] == "http.response.start" and (b"content-type", _STREAM) in message["headers"]:
            leave()
        await send(message)

    return send_on


async def _send(send: Send, answer: Answer) -> None:
    body = json_body.encode(answer.body)
    headers = {"Content-Type": answer.content_type, "Content-Length": str(len(body)), **answer.headers}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
