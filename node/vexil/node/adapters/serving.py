"""Serves an ASGI app on a TCP port: hypercorn's protocol code behind an accept loop of our own.

The one idea: hypercorn speaks HTTP, but it does not decide who gets in or who goes down. Its own ``serve`` lets an
error inside one connection cancel every other connection and the process with them (in 0.18 a WebSocket upgrade
whose sub-protocol is not ASCII is enough), and has no bound on connections. So each connection runs here in a slot
of a bounded set, and what it raises is logged once and ends that connection alone.

Errors::

    ServingError
    ├── PortInUse       somebody listens on this host and port already
    └── CannotListen    the address cannot be listened on (unknown host, not ours, no permission)
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import LifespanTimeoutError

_log = logging.getLogger(__name__)

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application, under trio."""

ACCEPT_PAUSE_MS = 100
"""How long the accept loop waits when the process has run out of file descriptors or memory."""
SEND_BYTES = 64 * 1024
"""Of a long answer so much is handed to the operating system at a time, and has to be taken in ``stall_ms``."""
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class ServingError(Exception):
    """A port could not be served."""


class PortInUse(ServingError):
    """Another process, or another port of this one, listens there already."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is in use: something listens there already")
        self.host = host
        self.port = port


class CannotListen(ServingError):
    """The operating system does not let us listen there."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host}:{port}: {reason}")
        self.host = host
        self.port = port


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """Bounds of one served port."""

    connections_max: int = 12_000
    """Open connections; above it new ones wait in the backlog. More than the streams a node allows (10 000)."""
    backlog: int = 1024
    """Connections that the operating system completes before we accept them."""
    keep_alive_ms: int = 75_000
    """An idle connection, or one that does not finish a request's headers, is closed after this. Longer than any
    caller of ours keeps an idle connection, so that the caller is the one who closes."""
    keep_alive_requests_max: int = 10_000_000
    header_limit_bytes: int = 16 * 1024
    stall_ms: int = 30_000
    """A connection is closed whose caller takes nothing of an answer for so long."""
    shutdown_ms: int = 5_000
    """How long requests in flight may take after shutdown was asked for, and then the app's own shutdown."""
    h2_streams_max: int = 1_000
    """Requests and streams of one HTTP/2 connection; gRPC clients have one connection for all of theirs."""
    h2_frame_limit_bytes: int = 16 * 1024


async def serve(
    app: AsgiApp,
    *,
    host: str,
    port: int,
    shutdown: trio.Event,
    limits: ServingLimits | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` until ``shutdown`` is set; then finish what is in flight, within ``shutdown_ms``, and return.

    The port is bound before the app is started, and reported (the real one, if ``port`` is 0) by ``task_status``
    once the app has started and connections are accepted. Cancellation closes everything at once. Raises PortInUse,
    CannotListen, and whatever the app's start raises.
    """
    limits = limits or ServingLimits()
    listeners, real_port = await _listen(host, port, limits.backlog)
    try:
        await _run(app, listeners, real_port, shutdown, limits, task_status)
    finally:
        for listener in listeners:
            listener.socket.close()


async def _listen(host: str, port: int, backlog: int) -> tuple[list[trio.SocketListener], int]:
    """Listen on every address of ``host`` ("localhost" may have two), all with the same port."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from error
    listeners: list[trio.SocketListener] = []
    try:
        for family, kind, protocol, _, address in found:
            sock = trio.socket.socket(family, kind, protocol)
            try:
                # A port whose last connections linger in TIME_WAIT may be taken again; a listening one may not.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                await sock.bind((address[0], port, *address[2:]))
                sock.listen(backlog)
            except BaseException:
                sock.close()
                raise
            listeners.append(trio.SocketListener(sock))
            port = sock.getsockname()[1]
    except OSError as error:
        for listener in listeners:
            listener.socket.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from error
        raise CannotListen(host, port, error.strerror or str(error)) from error
    return listeners, port


async def _run(
    app: AsgiApp,
    listeners: list[trio.SocketListener],
    port: int,
    shutdown: trio.Event,
    limits: ServingLimits,
    task_status: trio.TaskStatus[int],
) -> None:
    wrapped = ASGIWrapper(app)
    config = _config(limits)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    context = WorkerContext(None)

    open_connections: set[_Connection] = set()

    async def converse(stream: trio.SocketStream) -> None:
        try:
            # Hypercorn annotates TLS streams only; it asks plain ones for their type at run time.
            connection = _Connection(wrapped, config, context, ConnectionState(state.copy()), stream)  # type: ignore[arg-type]
            connection.stall_s = limits.stall_ms / 1000
            open_connections.add(connection)
            try:
                await connection
            finally:
                open_connections.discard(connection)
        except* Exception:  # noqa: BLE001 - whatever it is, it must not reach the other connections
            _log.exception("a connection to port %d failed inside the HTTP server and was closed", port)
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as app_nursery:
        await app_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                slots = trio.Semaphore(limits.connections_max)
                for listener in listeners:
                    accepting.start_soon(_accept, listener, converse, connections, slots)
                task_status.started(port)
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            for listener in listeners:
                listener.socket.close()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + limits.shutdown_ms / 1000
            for connection in open_connections:
                connection.hurry(limits.shutdown_ms / 1000)
        try:
            await lifespan.wait_for_shutdown()
        except LifespanTimeoutError:
            _log.warning("the app on port %d did not shut down within %d ms", port, limits.shutdown_ms)
        app_nursery.cancel_scope.cancel()


class _Connection(TCPServer):
    stall_s: float
    """How long its caller may take nothing of what is sent to him."""
    _sending: trio.CancelScope | None = None

    def hurry(self, stall_s: float) -> None:
        """The server stops: from now on its caller has no longer than this."""
        self.stall_s = min(self.stall_s, stall_s)
        if self._sending is not None:
            self._sending.deadline = min(self._sending.deadline, trio.current_time() + stall_s)

    async def protocol_send(self, event: Event) -> None:
        # Hypercorn shields its sends, and would wait for ever for whoever has stopped reading; nobody else can end it.
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            data = memoryview(event.data)
            for start in range(0, len(data), SEND_BYTES):
                taken = False
                self._sending = trio.CancelScope(deadline=trio.current_time() + self.stall_s, shield=True)
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError), self._sending:
                    await self.stream.send_all(data[start : start + SEND_BYTES])
                    taken = True
                if not taken:
                    await trio.aclose_forcefully(self.stream)
                    await self.protocol.handle(Closed())
                    return

    async def _read_data(self) -> None:
        # Without this a connection that its client has closed keeps its socket until the keep-alive time is over.
        await super()._read_data()
        await self.idle_task.stop()


async def _accept(
    listener: trio.SocketListener,
    converse: Callable[[trio.SocketStream], Awaitable[None]],
    connections: trio.Nursery,
    slots: trio.Semaphore,
) -> None:
    async def in_slot(stream: trio.SocketStream) -> None:
        try:
            await converse(stream)
        finally:
            slots.release()

    while True:
        if slots.value == 0:
            _log.warning("all connection slots are taken: new connections wait")
        await slots.acquire()
        try:
            stream = await listener.accept()
        except OSError as error:
            slots.release()
            if error.errno not in _OUT_OF_RESOURCES:
                raise
            _log.exception("cannot accept connections for the moment")
            await trio.sleep(ACCEPT_PAUSE_MS / 1000)
        except BaseException:
            slots.release()
            raise
        else:
            connections.start_soon(in_slot, stream)


def _config(limits: ServingLimits) -> Config:
    config = Config()
    config.accesslog = None
    # A logger of the standard library: without it hypercorn installs a handler of its own on stderr.
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.keep_alive_timeout = limits.keep_alive_ms / 1000
    config.keep_alive_max_requests = limits.keep_alive_requests_max
    config.h11_max_incomplete_size = limits.header_limit_bytes
    config.h2_max_concurrent_streams = limits.h2_streams_max
    config.h2_max_inbound_frame_size = limits.h2_frame_limit_bytes
    config.h2_max_header_list_size = limits.header_limit_bytes
    config.startup_timeout = limits.shutdown_ms / 1000
    config.shutdown_timeout = limits.shutdown_ms / 1000
    return config
