"""One call, as a handler meets it, and the way that its answer takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio
from google.protobuf.message import Message

from vexil.node.api.exchange import Services
from vexil.node.grpc.framing import framed, pieces, too_long
from vexil.node.grpc.places import Finder, Place
from vexil.node.grpc.statuses import CallFailed, Code

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

HEADERS = [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity")]


class Inbox:
    """What comes from the caller: the request's bytes up to a limit, their end, and that he has gone.

    It has to be listened to for as long as the call takes, or the server stops reading from his connection.
    """

    __slots__ = ("_body", "_bytes_max", "_decided", "_over", "ended")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._body = bytearray()
        self._over = False
        self._decided = trio.Event()
        self.ended = trio.Event()
        """Nothing more of the request comes."""

    async def listen(self, receive: Receive, gone: Callable[[], None]) -> None:
        """Take what comes until cancelled; ``gone`` is called when nobody is there any more."""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                gone()
                return
            part = message.get("body", b"")
            if not self._over:
                self._body += part
                if len(self._body) > self._bytes_max:
                    self._over = True
                    self._body.clear()
                    self._decided.set()
            if not message.get("more_body", False):
                self._decided.set()
                self.ended.set()

    async def whole(self) -> bytearray:
        """All of the request. Raises CallFailed for more than the limit."""
        await self._decided.wait()
        if self._over:
            raise too_long(self._bytes_max)
        return self._body


class Reply:
    """The answer on its way: headers with the first message, messages, trailers."""

    __slots__ = ("_begun", "_send", "_stall_s")

    def __init__(self, send: Send, *, stall_s: float) -> None:
        """``stall_s``: how long the caller may take to read each piece."""
        self._send = send
        self._stall_s = stall_s
        self._begun = False

    async def message(self, frame: bytes) -> None:
        """Send one message. Raises CallFailed (UNAVAILABLE) if it is not read in time."""
        try:
            with trio.fail_after(self._stall_s):
                await self._begin()
            for piece in pieces(frame):
                with trio.fail_after(self._stall_s):
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except trio.TooSlowError:
            raise CallFailed(Code.UNAVAILABLE, "the answer was not read in time") from None

    async def end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """Say how it ended. Not to be cancelled: the server would keep the stream."""
        with trio.move_on_after(self._stall_s):
            await self._begin()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            await self._send({"type": "http.response.trailers", "headers": trailers})

    async def _begin(self) -> None:
        if not self._begun:
            start = {"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True}
            await self._send(start)
            self._begun = True


@dataclass(slots=True)
class Call:
    """One call whose caller may make it. ``place`` is where it was when the call began."""

    services: Services
    metadata: Mapping[str, str]
    """Text metadata by lower-case name; of repeated names the last."""
    place: Place
    find: Finder
    reply: Reply
    answered_s: float | None = None
    """When the first message went out (`trio.current_time()`)."""

    async def send(self, message: Message) -> None:
        """Send one message."""
        await self.send_frame(framed(message.SerializeToString()))

    async def send_frame(self, frame: bytes) -> None:
        """Send one message that is `framed`."""
        if self.answered_s is None:
            self.answered_s = trio.current_time()
        await self.reply.message(frame)

    def look_again(self) -> Place:
        """The place as it is now. Raises ApiError, CallFailed if the caller may not ask any more."""
        return self.find(self.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One row of a service: what it is asked with, and who answers."""

    request: type[Message]
    handler: Callable[[Call, Any], Awaitable[None]]
    """Sends one message, or as many as it has if it ``streams``."""
    streams: bool = False


Methods = Mapping[str, Method]
"""Methods by their path, ``/package.Service/Method``."""
