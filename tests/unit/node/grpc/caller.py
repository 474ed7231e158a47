"""A gRPC client on an ASGI app, without sockets: it makes the frames itself and takes the answer to pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import trio
from google.protobuf.message import Message

HEADERS = {"content-type": "application/grpc", "te": "trailers"}


def frame(message: Message | bytes, *, flags: int = 0) -> bytes:
    """A message as it travels."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


class Stream:
    """One call that is under way."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.ended = trio.Event()
        self._said, self._heard = trio.open_memory_channel[dict[str, Any]](1000)
        self._answered, self._answers = trio.open_memory_channel[None](1000)
        self._data = bytearray()
        self.gate: trio.Event | None = None
        """While it is there and not set, the caller reads nothing."""

    # -- the server's side

    async def receive(self) -> dict[str, Any]:
        return await self._heard.receive()

    async def send(self, event: dict[str, Any]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if event["type"] == "http.response.start":
            self.status = event["status"]
            self.headers = {name.decode(): value.decode() for name, value in event["headers"]}
            self.wants_trailers = event.get("trailers", False)
        elif event["type"] == "http.response.body":
            self._data += event["body"]
            self._answered.send_nowait(None)
            if not event.get("more_body", False) and not self.wants_trailers:
                self.ended.set()
        else:
            assert event["type"] == "http.response.trailers"
            assert self.wants_trailers
            self.trailers = {name.decode(): value.decode() for name, value in event["headers"]}
            self._answered.close()
            self.ended.set()

    # -- the caller's side

    def say(self, body: bytes, *, more: bool = False) -> None:
        self._said.send_nowait({"type": "http.request", "body": body, "more_body": more})

    def go(self) -> None:
        """The caller hangs up."""
        self._said.send_nowait({"type": "http.disconnect"})

    async def message(self) -> bytes:
        """The next message; it fails if the call ends without one."""
        while len(self._data) < 5 or len(self._data) < 5 + int.from_bytes(self._data[1:5], "big"):
            await self._answers.receive()
        length = int.from_bytes(self._data[1:5], "big")
        assert self._data[0] == 0
        found = bytes(self._data[5 : 5 + length])
        del self._data[: 5 + length]
        return found

    @property
    def code(self) -> int:
        return int(self.trailers["grpc-status"])

    @property
    def text(self) -> str:
        return unquote(self.trailers.get("grpc-message", ""))

    @property
    def rest(self) -> bytes:
        """What was sent and not read as a message."""
        return bytes(self._data)


@asynccontextmanager
async def calling(
    app: Any, path: str, *, headers: Mapping[str, str] | None = None, **scope: Any
) -> AsyncIterator[Stream]:
    """Begin a call; at the end the app must have answered or been hung up on."""
    stream = Stream()
    sent = {**HEADERS, **(headers or {})}
    whole = {
        "type": "http",
        "method": "POST",
        "path": path,
        "http_version": "2",
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
        **scope,
    }
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app, whole, stream.receive, stream.send)
        yield stream
        if not stream.ended.is_set():
            stream.go()


async def call(
    app: Any, path: str, request: Message | bytes, *, headers: Mapping[str, str] | None = None, **scope: Any
) -> Stream:
    """A whole call whose request is one message, or these bytes as they are."""
    async with calling(app, path, headers=headers, **scope) as stream:
        stream.say(request if isinstance(request, bytes) else frame(request))
        await stream.ended.wait()
    return stream
