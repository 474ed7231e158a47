"""A gRPC server as a plain ASGI app: one call, from its headers to its trailers.

known path? → a free slot? → who calls, and may he? → the message → the handler, within the caller's time → trailers.

The HTTP server below speaks HTTP/2; all that gRPC adds is framing, a handful of headers and the trailers. Three things
are left to the app: the caller's deadline; to go on listening while it answers, for his going away is only said there;
and to read a refused request to its end, since the server below takes what comes after the answer for an error of the
whole connection.
"""

from __future__ import annotations

import re
from typing import Any, Final

import trio
from google.protobuf.message import DecodeError

from vexil.node.api.exchange import Services
from vexil.node.api.problems import REQUEST_ID_BYTES
from vexil.node.errors import ApiError
from vexil.node.grpc.call import Call, Inbox, Method, Methods, Receive, Reply, Send
from vexil.node.grpc.framing import PREFIX_BYTES, only_message
from vexil.node.grpc.places import Finder
from vexil.node.grpc.statuses import CallFailed, Code, of_refusal, trailers

VERB: Final = "GRPC"
"""The method under which calls are counted; their status is gRPC's code."""
UNKNOWN: Final = "unknown"
"""The route under which calls of no method are counted."""
CONTENT_TYPES: Final = frozenset(("application/grpc", "application/grpc+proto"))
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNIT_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class GrpcApp:
    """An ASGI app that serves ``methods`` for the places that ``find`` finds."""

    def __init__(self, services: Services, methods: Methods, find: Finder) -> None:
        """At most ``services.limits.requests_max`` calls are handled at one time, streams not among them."""
        self._services = services
        self._methods = methods
        self._find = find
        self._prefixes = tuple({path[: path.rindex("/") + 1] for path in methods})
        self._inside = 0

    def serves(self, scope: Any) -> bool:
        """Whether a request is for gRPC at all: by its content type, or its path."""
        return _content_type(scope).startswith("application/grpc") or scope["path"].startswith(self._prefixes)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one call, or the life span of a server that has only this app (ASGI 3)."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": None})
        elif scope["method"] != "POST":
            await _refuse(send, 405)
        elif _content_type(scope) not in CONTENT_TYPES:
            await _refuse(send, 415)
        elif scope["http_version"] != "2":
            await _refuse(send, 505)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        services = self._services
        inbox = Inbox(services.limits.request_body_bytes_max + PREFIX_BYTES)
        reply = Reply(send, stall_s=services.limits.answer_timeout_s)
        ending: list[tuple[bytes, bytes]] | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.listen, receive, nursery.cancel_scope.cancel)
            ending = await self._ending(scope, inbox, reply)
            with trio.move_on_after(services.limits.drain_timeout_s):
                await inbox.ended.wait()
            # The server says "gone" from inside our last send too, which must not be cancelled by it.
            nursery.cancel_scope.cancel()
        if ending is not None:
            await reply.end(ending)

    async def _ending(self, scope: Any, inbox: Inbox, reply: Reply) -> list[tuple[bytes, bytes]]:
        """Make the call; what it ends with."""
        services, path = self._services, scope["path"]
        begun_s = trio.current_time()
        method = self._methods.get(path)
        call: Call | None = None
        try:
            if method is None:
                raise CallFailed(Code.UNIMPLEMENTED, f"there is no method {path}")
            metadata = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            with trio.CancelScope(deadline=begun_s + _timeout_s(metadata)) as scope_of_call:
                call = await self._taken(method, metadata, inbox, reply)
            if scope_of_call.cancelled_caught:
                raise CallFailed(Code.DEADLINE_EXCEEDED, "the caller's time is over")
            failed = None
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it was, the caller gets an answer
            failed = self._failed(error, path)
        code = Code.OK if failed is None else failed.code
        answered_s = (
            call.answered_s if call is not None and call.answered_s is not None else trio.current_time()
        )
        services.metrics.observe_request(
            VERB, UNKNOWN if method is None else path, code, answered_s - begun_s
        )
        return trailers(Code.OK) if failed is None else failed.trailers()

    async def _taken(self, method: Method, metadata: dict[str, str], inbox: Inbox, reply: Reply) -> Call:
        """Make the call in a slot; of a stream only its beginning counts, its life is bounded elsewhere."""
        services = self._services
        if self._inside >= services.limits.requests_max:
            services.metrics.count_not_admitted()
            raise CallFailed(Code.RESOURCE_EXHAUSTED, f"{self._inside} calls are being handled here")
        self._inside += 1
        inside = True
        try:
            place = self._find(metadata)
            request = await self._request(method, inbox)
            call = Call(services, metadata, place, self._find, reply)
            if method.streams:
                self._inside -= 1
                inside = False
            await method.handler(call, request)
            return call
        finally:
            if inside:
                self._inside -= 1

    async def _request(self, method: Method, inbox: Inbox) -> Any:
        limits = self._services.limits
        try:
            with trio.fail_after(limits.body_timeout_s):
                body = await inbox.whole()
        except trio.TooSlowError:
            raise CallFailed(Code.DEADLINE_EXCEEDED, "the request did not arrive in time") from None
        request = method.request()
        try:
            request.ParseFromString(only_message(body, message_bytes_max=limits.request_body_bytes_max))
        except (DecodeError, UnicodeDecodeError):
            raise CallFailed(Code.INVALID_ARGUMENT, "the message cannot be read") from None
        return request

    def _failed(self, error: Exception, path: str) -> CallFailed:
        """What a call that ended in ``error`` says. What nobody foresaw is logged once."""
        if isinstance(error, CallFailed):
            return error
        if isinstance(error, ApiError):
            return of_refusal(error)
        services = self._services
        request_id = services.entropy.token_bytes(REQUEST_ID_BYTES).hex()
        services.log.error("a request failed", request_id=request_id, method=VERB, route=path, exc_info=error)
        return CallFailed(Code.INTERNAL, f"this node failed; its log says why under {request_id}")


class WithGrpc:
    """An ASGI app in front of another one: calls go to ``grpc``, everything else goes on."""

    def __init__(self, grpc: GrpcApp, other: Any) -> None:
        self._grpc = grpc
        self._other = other

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve whatever it is (ASGI 3)."""
        if scope["type"] == "http" and self._grpc.serves(scope):
            await self._grpc(scope, receive, send)
        else:
            await self._other(scope, receive, send)


def _timeout_s(metadata: dict[str, str]) -> float:
    """How long the caller waits; without end if he does not say. Raises CallFailed for what is no time."""
    text = metadata.get("grpc-timeout")
    if text is None:
        return float("inf")
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise CallFailed(Code.INVALID_ARGUMENT, "grpc-timeout cannot be read")
    return int(found[1]) * _UNIT_S[found[2]]


def _content_type(scope: Any) -> str:
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind: str = value.decode("latin-1").partition(";")[0].strip().lower()
            return kind
    return ""


async def _refuse(send: Send, status: int) -> None:
    """What is no call is refused as HTTP."""
    headers = [(b"content-length", b"0")]
    if status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
