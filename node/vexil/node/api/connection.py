"""One HTTP exchange between the server and the framework, without what the usual small request does not need.

The framework watches for the caller's going away in a task of its own, and sends an answer in pieces. A request whose
body has arrived with its headers, as nearly all do, is answered in its own task, and in one piece. A larger one is
left to the framework's way, so that its sender is judged by the headers before the rest is waited for. An answer that
goes on and on (`LiveResponse`) is sent while somebody watches whether its reader is still there.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import suppress
from typing import Any

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from quart.utils import encode_headers
from quart.wrappers import Response
from quart.wrappers.response import DataBody
from quart_trio.asgi import TrioASGIHTTPConnection, TrioASGIWebsocketConnection

SMALL_BODY_BYTES = 64 * 1024
SMALL_BODY_TIMEOUT_S = 0.05
"""How long a small body is waited for before the caller is looked at without it."""
REFUSED = 1008
"""The WebSocket code for what policy does not allow; before the handshake is through it becomes an HTTP 403."""


class LiveResponse(Response):
    """An answer in pieces that goes on until one side ends it."""

    def __init__(self, pieces: AsyncIterable[bytes] | bytes, status: int, *, piece_s: float) -> None:
        """Each piece has to be taken in ``piece_s``."""
        super().__init__(pieces, status)
        self.piece_s = piece_s
        self.timeout = None


class NoWebSocket(TrioASGIWebsocketConnection):
    """What meets a WebSocket handshake: nothing here speaks it, so it is refused (403)."""

    def __init__(self, app: object, scope: object) -> None:
        """Made by the framework; none of what the base class would make is used."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Refuse the handshake."""
        await receive()
        await send({"type": "websocket.close", "code": REFUSED, "reason": None})


class Connection(TrioASGIHTTPConnection):
    """See the module; the name is the framework's for one request and its answer."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the request."""
        request = self._create_request_from_scope(send)
        received = 0
        with trio.move_on_after(SMALL_BODY_TIMEOUT_S):
            while received <= SMALL_BODY_BYTES:
                message = await receive()
                if message["type"] != "http.request":
                    return  # nobody is there any more
                part = message.get("body", b"")
                request.body.append(part)
                received += len(part)
                if not message.get("more_body", False):
                    request.body.set_complete()
                    break
        if request.body.arrived.is_set():  # type: ignore[attr-defined]  # it is a BoundedBody
            response = await self.app.handle_request(request)
            if isinstance(response, LiveResponse):
                await self._send_live(receive, send, response)
            else:
                await self._send_in_time(send, response)
            return
        answered = False

        async def say(message: Any) -> None:
            nonlocal answered
            answered = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        async def hear() -> Any:
            message = await receive()
            if answered and message["type"] == "http.disconnect":
                # The server says so from inside our last send, while it closes the connection. The framework would
                # take it for a caller who has gone away, cancel that send, and leave the connection open for ever.
                await trio.sleep_forever()
            return message

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.handle_messages, nursery, request, hear)
            nursery.start_soon(self.handle_request, nursery, request, say)

    async def _send_in_time(self, send: Any, response: Any) -> None:
        """As the framework does: with the limit for all of the answer, unless the answer has none."""
        if isinstance(response, Response) and response.timeout is None:
            await self._send_response(send, response)
            return
        with trio.move_on_after(self.app.config["RESPONSE_TIMEOUT"]):
            await self._send_response(send, response)

    async def _send_live(self, receive: Any, send: Any, response: LiveResponse) -> None:
        whole = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
            whole = await self._send_pieces(send, response)
            nursery.cancel_scope.cancel()
        if whole:
            # Not before nobody watches any more: the server says that the caller is gone from inside this very call.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_pieces(self, send: Any, response: LiveResponse) -> bool:
        """Send the answer but for its end; False if its reader does not take it."""
        with trio.move_on_after(response.piece_s):
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status_code,
                    "headers": encode_headers(response.headers),
                }
            )
        async with response.response as pieces:
            async for piece in pieces:
                taken = False
                with trio.move_on_after(response.piece_s):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    taken = True
                if not taken:
                    return False
        return True

    async def _send_response(self, send: Any, response: Any) -> None:
        """Send the answer: in one piece if it is one; else it ends when its reader does not take a piece in time."""
        if not isinstance(response, Response) or not isinstance(response.response, DataBody):

            async def send_piece(message: Any) -> None:
                with trio.fail_after(self.app.config["RESPONSE_TIMEOUT"]):
                    await send(message)

            with suppress(trio.TooSlowError):
                await super()._send_response(send_piece, response)
            return
        await send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": encode_headers(response.headers),
            }
        )
        await send({"type": "http.response.body", "body": response.response.data, "more_body": False})


async def _until_gone(receive: Any, scope: trio.CancelScope) -> None:
    """Cancel ``scope`` when the caller goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
