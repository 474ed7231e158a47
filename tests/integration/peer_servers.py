"""Peer ports for tests, on real loopback sockets: honest ones, and ones that misbehave below HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from vexil.node.adapters.http_peers import HttpPeerTransport
from vexil.node.adapters.peer_app import PeerAppLimits, create_peer_app
from vexil.node.adapters.serving import AsgiApp, ServingLimits, serve
from vexil.node.adapters.system import SystemEntropy
from vexil.node.seams import PeerAddress, PeerHandler, PeerIdentity

SECRET = b"the secret of one cluster"
CALLER = PeerIdentity("eu-1", "eu")


async def echo(caller: PeerIdentity, method: str, body: bytes) -> bytes:
    return body


@asynccontextmanager
async def served(app: AsgiApp, *, port: int = 0, limits: ServingLimits | None = None) -> AsyncIterator[int]:
    """The port on which ``app`` is served; shut down gracefully at the end."""
    shutdown = trio.Event()
    limits = limits or ServingLimits(shutdown_ms=200)
    async with trio.open_nursery() as nursery:
        run = partial(serve, app, host="127.0.0.1", port=port, shutdown=shutdown, limits=limits)
        bound: int = await nursery.start(run)
        try:
            yield bound
        finally:
            shutdown.set()


@asynccontextmanager
async def peer(
    handler: PeerHandler = echo,
    *,
    port: int = 0,
    secret: bytes = SECRET,
    limits: PeerAppLimits | None = None,
    around: Callable[[AsgiApp], AsgiApp] = lambda app: app,
) -> AsyncIterator[PeerAddress]:
    """A node's peer port; ``around`` may wrap its app."""
    app = create_peer_app(handler, secret, SystemEntropy(), limits)
    async with served(around(app), port=port) as bound:
        yield address(bound)


def address(port: int) -> PeerAddress:
    return PeerAddress("eu-2", "eu", f"http://127.0.0.1:{port}")


@asynccontextmanager
async def transport(*, secret: bytes = SECRET, **options: Any) -> AsyncIterator[HttpPeerTransport]:
    client = HttpPeerTransport(caller=CALLER, secret=secret, entropy=SystemEntropy(), **options)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def raw_server(behave: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[PeerAddress]:
    """A port on which every connection is given to ``behave`` and closed when it returns."""

    async def converse(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await behave(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the client has gone: the test looks at what it saw

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, converse, 0, host="127.0.0.1"))
        yield address(listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


class Cutter:
    """Forwards connections to a real peer; once ``cut_after_bytes`` is set, cuts each after so many bytes of answer."""

    def __init__(self, target: PeerAddress) -> None:
        self._port = int(target.url.rpartition(":")[2])
        self.cut_after_bytes: int | None = None

    async def __call__(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._up, client, server)
            while data := await server.receive_some():
                if self.cut_after_bytes is not None:
                    await client.send_all(data[: self.cut_after_bytes])
                    break
                await client.send_all(data)
            nursery.cancel_scope.cancel()

    async def _up(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        while data := await client.receive_some():
            await server.send_all(data)
        await server.send_eof()


class Tampering:
    """An ASGI app that changes what ``app`` answers to requests, but not how it opens sessions."""

    def __init__(self, app: AsgiApp, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._app = app
        self._change = change

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def send_changed(message: dict[str, Any]) -> None:
            await send(self._change(message))

        tamper = scope["type"] == "http" and not scope["path"].endswith("/session")
        await self._app(scope, receive, send_changed if tamper else send)
