"""An answer in pieces may take as long as it is long; a reader who stops is not waited for without end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from quart_trio import QuartTrio

from vexil.node.api.connection import SMALL_BODY_BYTES, Connection
from vexil.node.api.dispatch import response
from vexil.node.api.exchange import Answer
from vexil.node.api.request_body import BoundedRequest

LIMIT_S = 10.0
PIECES = [b"%d" % number for number in range(5)]


class Streaming(QuartTrio):
    """Answers everything with `PIECES`."""

    request_class = BoundedRequest
    ended = False

    async def handle_request(self, request: Any) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                for piece in PIECES:
                    yield piece
            finally:
                self.ended = True

        return response(Answer(pieces(), content_type="application/octet-stream"))


async def sent(app: Streaming, *, piece_s: float, body: bytes, reads: int = 0) -> list[bytes]:
    """What a reader gets who takes each piece in ``piece_s``, all but the first ``reads`` messages."""
    app.config["RESPONSE_TIMEOUT"] = LIMIT_S
    scope: Any = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "extensions": {},
    }
    # A large body goes the framework's way: there are two.
    arrived = [{"type": "http.request", "body": b"", "more_body": False}]
    if body:
        arrived.append({"type": "http.request", "body": body, "more_body": True})
    taken: list[bytes] = []

    async def receive() -> Any:
        if not arrived:
            await trio.sleep_forever()
        return arrived.pop()

    async def send(message: Any) -> None:
        nonlocal reads
        reads -= 1
        await trio.sleep(0 if reads >= 0 else piece_s)
        if message["type"] == "http.response.body":
            taken.append(message["body"])

    await Connection(app, scope)(receive, send)
    return taken


@pytest.mark.parametrize("size", [0, SMALL_BODY_BYTES + 1])
async def test_a_long_answer_is_read_to_its_end(autojump_clock: object, size: int) -> None:
    taken = await sent(Streaming(__name__), piece_s=LIMIT_S * 0.9, body=b"x" * size)
    assert taken == [*PIECES, b""]


@pytest.mark.parametrize("size", [0, SMALL_BODY_BYTES + 1])
async def test_a_reader_who_stops_is_left(autojump_clock: object, size: int) -> None:
    app = Streaming(__name__)
    begun_s = trio.current_time()
    assert await sent(app, piece_s=LIMIT_S * 2, body=b"x" * size, reads=2) == PIECES[:1]
    assert trio.current_time() - begun_s < LIMIT_S * 2
    assert app.ended
