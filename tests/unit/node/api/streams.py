"""Event streams without sockets: the app is asked as a server asks it, and its reader takes pieces when he likes.

Between the app and its reader is nothing: a piece that is not taken blocks the app, as a full socket does.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import trio

PATIENCE_S = 300.0
"""Virtual: signs of life go on for ever."""


class Event(NamedTuple):
    """One event; a comment has the name "" and no data, a ``retry`` its milliseconds."""

    name: str
    data: Any
    id: str = ""


class Stream:
    """What a reader of one stream sees."""

    def __init__(
        self, messages: trio.MemoryReceiveChannel[Any], start: Mapping[str, Any], done: trio.Event
    ) -> None:
        self._messages = messages
        self._rest = b""
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.done = done
        """The app has finished, or broken off, its answer."""

    async def next(self) -> Event:
        """The next thing on the stream."""
        while b"\n\n" not in self._rest:
            piece = await self._piece()
            assert piece is not None, f"the stream is over: {self._rest[:200]!r}"
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\n\n")
        return _read(text.decode())

    async def event(self, *names: str) -> Event:
        """The next event of one of these names (of any but signs of life, if none is named)."""
        with trio.fail_after(PATIENCE_S):
            while True:
                found = await self.next()
                if found.name in names or (not names and found.name not in ("", "retry", "status")):
                    return found

    async def rest(self) -> list[Event]:
        """Everything up to the end of the stream."""
        with trio.fail_after(PATIENCE_S):
            while (piece := await self._piece()) is not None:
                self._rest += piece
        return [_read(text) for text in self._rest.decode().split("\n\n") if text]

    async def _piece(self) -> bytes | None:
        try:
            message = await self._messages.receive()
        except trio.EndOfChannel:
            return None
        piece: bytes = message.get("body", b"")
        return piece


@asynccontextmanager
async def streaming(
    app: Any, path: str, key: str | None = None, *, method: str = "GET", **headers: str
) -> AsyncIterator[Stream]:
    """A request whose answer is read as it comes; ``headers`` with ``_`` for ``-``."""
    path, _, query = path.partition("?")
    sent = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    if key is not None:
        sent["authorization"] = f"Bearer {key}"
    scope: Any = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "extensions": {},
        "asgi": {},
    }
    asked = [{"type": "http.request", "body": b"", "more_body": False}]
    gone, done = trio.Event(), trio.Event()
    to_reader, messages = trio.open_memory_channel[Any](0)

    async def receive() -> Any:
        if asked:
            return asked.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def serve() -> None:
        async with to_reader:
            await app(scope, receive, to_reader.send)
        done.set()

    async with messages, trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield Stream(messages, await messages.receive(), done)
        # Whoever goes away takes nothing more; the app is to notice that by itself.
        gone.set()
        with trio.fail_after(1):
            await done.wait()


def _read(text: str) -> Event:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        assert name not in fields or name == "", text
        fields[name] = value.removeprefix(" ")
    if "retry" in fields:
        return Event("retry", int(fields["retry"]))
    if "data" not in fields:
        return Event("", None)
    return Event(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
