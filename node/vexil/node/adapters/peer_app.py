"""The peer port of a node: a plain ASGI app that lets in other nodes of the cluster and hands on what they say.

The one idea: a stranger costs nothing. Whether a caller is one of us is decided from the headers alone, without
waiting and before any body is read; only then does a request take one of the bounded slots, and only in a slot are
bodies buffered (``frame_limit_bytes``, while reading) and the handler run. Everything after authentication is
answered under a signature, refusals too, so that the caller can tell a peer's "no" from a stranger's.

Every answer has a Content-Length. A refusal is msgpack ``{"code", "detail"}``; codes of this module: those of
``peer_auth`` and ``path.unknown`` (unsigned), ``limit.frame``, ``request.slow``, ``node.busy``, ``node.slow``,
``internal``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack
import trio

from vexil.node.adapters.peer_auth import (
    ANSWER_HEADER,
    FRAME_LIMIT_BYTES,
    OPEN_HEADER,
    REQUEST_HEADER,
    AuthRefused,
    PeerKeys,
    SessionLimits,
    SessionTable,
    VerifiedRequest,
)
from vexil.node.seams import Entropy, PeerHandler, PeerRefused

_log = logging.getLogger(__name__)

PATH_PREFIX = "/peer/v1/"
SESSION_PATH = PATH_PREFIX + "session"
PEER_METHODS = ("join", "digest", "pull", "push", "announce", "snapshot", "past")
CONTENT_TYPE = "application/msgpack"
DETAIL_LIMIT_CHARACTERS = 500

_METHOD_OF_PATH = {PATH_PREFIX + method: method for method in PEER_METHODS}
_STATUS_OF_CODE = {
    "limit.frame": 413,
    "request.slow": 408,
    "node.busy": 503,
    "node.not_ready": 503,
    "internal": 500,
}
_STATUS_REFUSED = 409

_OPEN_HEADER = OPEN_HEADER.encode()
_REQUEST_HEADER = REQUEST_HEADER.encode()
_ANSWER_HEADER = ANSWER_HEADER.encode()
_CONTENT_TYPE = (b"content-type", CONTENT_TYPE.encode())

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAppLimits:
    """Bounds of the peer port."""

    frame_limit_bytes: int = FRAME_LIMIT_BYTES
    requests_max: int = 64
    """Authenticated requests being read or handled at one time; above it the answer is ``node.busy``."""
    body_timeout_ms: int = 30_000
    """From the headers to the last byte of the body."""
    handler_timeout_ms: int = 60_000
    drains_max: int = 16
    """Refused requests whose body is read and thrown away, so that the caller gets to read the answer; above it the
    connection is closed instead."""
    drain_limit_bytes: int = 2 * FRAME_LIMIT_BYTES
    """A refused request that says it is larger is not read on, its connection is closed."""
    drain_timeout_ms: int = 5_000
    sessions: SessionLimits = field(default_factory=SessionLimits)


class _CallerGone(Exception):
    """The connection was closed before the request was complete: nobody is there to be answered."""


def create_peer_app(
    handler: PeerHandler,
    secret: bytes,
    entropy: Entropy,
    limits: PeerAppLimits | None = None,
    *,
    on_refused: Callable[[str], None] | None = None,
) -> PeerApp:
    """The ASGI app of a peer port. ``on_refused`` is told the code of every refusal (for counting).

    Raises SecretTooShort. The handler is cancelled after ``handler_timeout_ms`` and when the server is.
    """
    keys = PeerKeys(secret)
    return PeerApp(handler, keys, entropy, limits or PeerAppLimits(), on_refused)


class PeerApp:
    """See ``create_peer_app``. Sessions live and die with this object."""

    def __init__(
        self,
        handler: PeerHandler,
        keys: PeerKeys,
        entropy: Entropy,
        limits: PeerAppLimits,
        on_refused: Callable[[str], None] | None,
    ) -> None:
        self._handler = handler
        self._limits = limits
        self._on_refused = on_refused
        self._sessions = SessionTable(keys, entropy=entropy, limits=limits.sessions)
        self._requests = 0
        self._drains = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] == "http":
            await self._http(_Exchange(scope, receive, send))
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _http(self, exchange: _Exchange) -> None:
        path = exchange.path
        if path != SESSION_PATH and path not in _METHOD_OF_PATH:
            await self._refuse(exchange, 404, "path.unknown", "no such path on a peer port")
        elif exchange.http_method != "POST":
            await self._refuse(exchange, 405, "path.unknown", "only POST is served here")
        else:
            try:
                if path == SESSION_PATH:
                    await exchange.answer(200, self._sessions.open(exchange.header(_OPEN_HEADER)), "")
                    return
                request = self._sessions.verify(exchange.header(_REQUEST_HEADER), method="POST", path=path)
            except AuthRefused as refused:
                await self._refuse(exchange, 401, refused.code, refused.detail)
            else:
                await self._admit(exchange, request)

    async def _admit(self, exchange: _Exchange, request: VerifiedRequest) -> None:
        if self._requests >= self._limits.requests_max:
            detail = f"{self._limits.requests_max} requests are being handled"
            await self._refuse(exchange, 503, "node.busy", detail, request)
            return
        self._requests += 1
        try:
            body = await self._read(exchange)
            request.check_body(body)
            answer = await self._handle(exchange.path, request, body)
        except _CallerGone:
            return
        except AuthRefused as refused:
            await self._refuse(exchange, 401, refused.code, refused.detail)
        except PeerRefused as refused:
            status = _STATUS_OF_CODE.get(refused.code, _STATUS_REFUSED)
            await self._refuse(exchange, status, refused.code, refused.detail, request)
        else:
            await exchange.answer(200, answer, request.sign_answer(200, answer))
        finally:
            self._requests -= 1

    async def _read(self, exchange: _Exchange) -> bytes:
        limit = self._limits.frame_limit_bytes
        with trio.move_on_after(self._limits.body_timeout_ms / 1000):
            body = await exchange.read(limit)
            if body is None:
                raise PeerRefused("limit.frame", f"a request body has at most {limit} bytes")
            return body
        raise PeerRefused("request.slow", f"the body did not arrive within {self._limits.body_timeout_ms} ms")

    async def _handle(self, path: str, request: VerifiedRequest, body: bytes) -> bytes:
        method = _METHOD_OF_PATH[path]
        try:
            with trio.move_on_after(self._limits.handler_timeout_ms / 1000):
                answer = await self._handler(request.caller, method, body)
                if len(answer) > self._limits.frame_limit_bytes:
                    raise ValueError(f"an answer of {len(answer)} bytes is over the frame limit")
                return answer
        except PeerRefused:
            raise
        except Exception as error:  # a bug of ours: the caller learns that, and no more
            _log.exception("the handler of %s failed for %s (%s)", method, *request.caller)
            raise PeerRefused("internal", "the peer failed to handle this; its log says why") from error
        raise PeerRefused("node.slow", f"not handled within {self._limits.handler_timeout_ms} ms")

    async def _refuse(
        self, exchange: _Exchange, status: int, code: str, detail: str, request: VerifiedRequest | None = None
    ) -> None:
        """Answer no; signed if the caller is known. What is left of the body is read if it is little."""
        if self._on_refused is not None:
            self._on_refused(code)
        body = msgpack.packb({"code": code, "detail": detail[:DETAIL_LIMIT_CHARACTERS]})
        signature = request.sign_answer(status, body) if request else ""
        if exchange.body_is_read:
            await exchange.answer(status, body, signature)
            return
        declared = exchange.declared_bytes
        drain = declared is not None and declared <= self._limits.drain_limit_bytes
        if not drain or self._drains >= self._limits.drains_max:
            await exchange.answer_and_close(status, body, signature)
            return
        self._drains += 1
        try:
            await exchange.answer_and_drain(status, body, signature, self._limits.drain_timeout_ms)
        finally:
            self._drains -= 1


class _Exchange:
    """One HTTP request and its answer."""

    __slots__ = ("_headers", "_receive", "_send", "body_is_read", "declared_bytes", "http_method", "path")

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.http_method: str = scope["method"]
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._send = send
        length = self.header(b"content-length")
        self.declared_bytes = int(length) if length is not None else None
        """None: chunked, or no body at all."""
        self.body_is_read = self.declared_bytes == 0

    def header(self, name: bytes) -> str | None:
        for key, value in self._headers:
            if key == name:
                return value.decode("latin-1")
        return None

    async def read(self, limit: int) -> bytes | None:
        """The body, or None as soon as it is known to be over ``limit``; never more than that is kept."""
        if self.declared_bytes is not None and self.declared_bytes > limit:
            return None
        body = b""
        more: bytearray | None = None
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _CallerGone
            part = message.get("body", b"")
            if not body:
                body = part  # the usual small body is one part: no copy
            elif part:
                if more is None:
                    more = bytearray(body)
                more += part
            if len(more or body) > limit:
                return None
            if not message.get("more_body", False):
                self.body_is_read = True
                return body if more is None else bytes(more)

    async def answer(self, status: int, body: bytes, signature: str) -> None:
        await self._start(status, body, signature)
        await self._send({"type": "http.response.body", "body": body})

    async def answer_and_drain(self, status: int, body: bytes, signature: str, timeout_ms: int) -> None:
        """Answer while the caller may still be sending, and read on, so that it comes to read the answer."""
        await self._start(status, body, signature)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        with trio.move_on_after(timeout_ms / 1000):
            while True:
                message = await self._receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
        await self._end()

    async def answer_and_close(self, status: int, body: bytes, signature: str) -> None:
        """Answer and close the connection, whatever the caller is still sending."""
        await self._start(status, body, signature, (b"connection", b"close"))
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        await self._end()

    async def _end(self) -> None:
        # Ending a response puts a message into the queue that we read here. It is bounded: if the caller has filled
        # it, the server would wait for a reader for ever, and so would the connection.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._discard)
            await self._send({"type": "http.response.body", "body": b""})
            nursery.cancel_scope.cancel()

    async def _discard(self) -> None:
        while True:
            await self._receive()

    async def _start(self, status: int, body: bytes, signature: str, *more: tuple[bytes, bytes]) -> None:
        headers = [_CONTENT_TYPE, (b"content-length", str(len(body)).encode()), *more]
        if signature:
            headers.append((_ANSWER_HEADER, signature.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing to start or to stop: sessions are memory, and the handler is somebody else's."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
