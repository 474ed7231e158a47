"""Two nodes that meet over HTTP, each in a process of its own, so that what is measured is what one of them does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from tests.benchmarks.bench_nodes import engine_on, store_in
from tests.e2e.ports import free_base_ports
from vexil.node.adapters.http_peers import HttpPeerTransport
from vexil.node.adapters.peer_app import create_peer_app
from vexil.node.adapters.serving import serve
from vexil.node.adapters.system import SystemEntropy
from vexil.node.engine import Engine
from vexil.node.seams import PeerIdentity, PeerTransport
from vexil.node.telemetry import Silence

FIRST: Final = PeerIdentity("eu-1", "eu")
SECOND: Final = PeerIdentity("us-1", "us")
HOST: Final = "127.0.0.1"
SECRET: Final = b"of no use but for this benchmark"


@asynccontextmanager
async def listening(
    folder: Path,
    identity: PeerIdentity,
    base_port: int,
    *,
    by_way_of: Callable[[PeerTransport], PeerTransport] = lambda transport: transport,
    telemetry: Silence | None = None,
) -> AsyncIterator[Engine]:
    """A node that listens for the other and does not run yet; `FIRST` begins the cluster and `SECOND` joins it."""
    entropy = SystemEntropy()
    transport = HttpPeerTransport(caller=identity, secret=SECRET, entropy=entropy)
    first = identity == FIRST
    port = base_port if first else base_port + 1
    async with store_in(folder, identity.node) as store, trio.open_nursery() as nursery:
        engine = engine_on(
            store,
            name=identity.node,
            region=identity.region,
            peer_url=f"http://{HOST}:{port}",
            transport=by_way_of(transport),
            seeds=() if first else (f"http://{HOST}:{base_port}",),
            bootstrap=first,
            digests=False,
            telemetry=telemetry,
        )
        app = create_peer_app(engine.peer_service.serve, SECRET, entropy)

        async def listen(task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
            await serve(app, host=HOST, port=port, shutdown=trio.Event(), task_status=task_status)

        await nursery.start(listen)
        yield engine
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await transport.aclose()


def base_port() -> int:
    """A free port for `FIRST`, with one for `SECOND` behind it."""
    return next(free_base_ports(2))


class Other:
    """The other process, which says lines and is told lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Both ends of ``process`` are pipes."""
        self._process = process

    def said(self) -> str:
        """Its next line; empty if it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    async def says(self) -> str:
        """Its next line, without holding up the event loop."""
        return await trio.to_thread.run_sync(self.said)

    def tell(self, line: str) -> None:
        """Say a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


@contextmanager
def beside(module: str, *arguments: object) -> Iterator[Other]:
    """``python -m module`` with ``arguments``, killed in the end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Other(process)
        finally:
            process.kill()
