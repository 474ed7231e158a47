"""A node that was away pulls 50,000 changes of 1,000 flags from one peer: over HTTP, each end in a process of its own.

Bounds of the design: 20,000 changes/s, and at most 1.05 times the bytes of the encoded changes on the wire. The node
that is pulled from runs in a child process, so that what is measured is what the node that catches up does.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.benchmarks.bench_nodes import (
    create,
    engine_on,
    make_project,
    settle,
    store_in,
    toggle,
    write_all,
)
from vexil.node.adapters.http_peers import HttpPeerTransport
from vexil.node.adapters.peer_app import create_peer_app
from vexil.node.adapters.serving import serve
from vexil.node.adapters.system import SystemEntropy
from vexil.node.engine import Engine
from vexil.node.seams import LogRecord, PeerAddress, PeerIdentity, PeerTransport

FLAGS = 1_000
CHANGES = 50_000
WRITERS = 64
HOST = "127.0.0.1"
SECRET = b"of no use but for this benchmark"
JOIN_TIMEOUT_MS = 60_000
PAGE_BYTES = 4 << 20


class _Metered:
    """Counts the bytes of whole messages, both ways."""

    def __init__(self, inner: PeerTransport) -> None:
        self._inner = inner
        self.bytes = 0

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        answer = await self._inner.call(peer, method, body, timeout_ms=timeout_ms)
        self.bytes += len(body) + len(answer)
        return answer


@asynccontextmanager
async def _node(
    folder: Path, identity: PeerIdentity, ports: dict[str, int]
) -> AsyncIterator[tuple[Engine, _Metered]]:
    """A node that is ready, and its way to its peer; `eu-1` begins the cluster and `us-1` joins it."""
    entropy = SystemEntropy()
    transport = HttpPeerTransport(caller=identity, secret=SECRET, entropy=entropy)
    metered = _Metered(transport)
    urls = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
    async with store_in(folder, identity.node) as store, trio.open_nursery() as nursery:
        first = identity.node == "eu-1"
        engine = engine_on(
            store,
            name=identity.node,
            region=identity.region,
            peer_url=urls[identity.node],
            transport=metered,
            seeds=() if first else (urls["eu-1"],),
            bootstrap=first,
            digests=False,
        )
        app = create_peer_app(engine.peer_service.serve, SECRET, entropy)

        async def listen(task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
            port = ports[identity.node]
            await serve(app, host=HOST, port=port, shutdown=trio.Event(), task_status=task_status)

        await nursery.start(listen)
        await nursery.start(engine.run)
        yield engine, metered
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await transport.aclose()


async def _be_pulled_from(folder: Path, ports: dict[str, int]) -> None:
    """The child: make the flags, and when it is told to the changes; then answer pulls until killed."""
    async with _node(folder, PeerIdentity("eu-1", "eu"), ports) as (engine, _):
        project = await make_project(engine)
        await write_all(engine, [create(i) for i in range(FLAGS)], writers=WRITERS)
        print("flags", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        engine.links.set("eu", "us", cut=True)
        toggles = [toggle(i % FLAGS, enabled=bool(i // FLAGS & 1)) for i in range(CHANGES)]
        await write_all(engine, toggles, writers=WRITERS)
        engine.links.set("eu", "us", cut=False)
        settle()
        print(project.replica.root_hash(), flush=True)
        await trio.sleep_forever()


async def _catch_up(folder: Path, ports: dict[str, int], other: subprocess.Popen[str]) -> None:
    assert other.stdin is not None
    assert other.stdout is not None
    async with _node(folder, PeerIdentity("us-1", "us"), ports) as (engine, metered):
        await engine.loops.catch_up(timeout_ms=JOIN_TIMEOUT_MS)
        target = engine.project("demo")
        assert target is not None
        assert len(target.flag_keys()) == FLAGS, "the node that was away had not joined before"
        other.stdin.write("go on\n")
        other.stdin.flush()
        root = (await trio.to_thread.run_sync(other.stdout.readline)).strip()
        settle()
        had, wire_before = dict(target.replica.vv), metered.bytes
        cpu_s, started = time.process_time(), time.perf_counter()
        await engine.loops.catch_up(timeout_ms=120_000)
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
        assert target.replica.root_hash() == root, "the reader has not caught up"
        each_us = cpu_s / CHANGES * 1e6
        print(
            f"catch-up of {CHANGES:,} changes {CHANGES / seconds:10,.0f} changes/s   (bound 20,000), "
            f"{each_us:.1f} µs of CPU each where they arrive"
        )
        records = await _log_of(engine, after=had)
        assert len(records) == CHANGES, "some changes were there before"
        ratio = (metered.bytes - wire_before) / sum(len(record.raw) for record in records)
        print(f"bytes on the wire / encoded   {ratio:10.3f}             (bound 1.05)")


async def _log_of(engine: Engine, *, after: dict[int, int]) -> list[LogRecord]:
    project = engine.project("demo")
    assert project is not None
    records: list[LogRecord] = []
    reached = dict(after)
    while page := await engine.own_log.read(
        "demo", after=reached, through=project.replica.vv, limit_bytes=PAGE_BYTES
    ):
        records += page
        for record in page:
            reached[record.incarnation] = record.seq
    return records


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Print rate and byte ratio; as the child process, be the node that is pulled from."""
    if len(sys.argv) > 1:
        trio.run(_be_pulled_from, Path(sys.argv[1]), {"eu-1": int(sys.argv[2]), "us-1": int(sys.argv[3])})
        return
    ports = {"eu-1": _free_port(), "us-1": _free_port()}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.catch_up", folder, *map(str, ports.values())]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            try:
                assert other.stdout is not None
                assert other.stdout.readline() == "flags\n", "the other node did not start"
                trio.run(_catch_up, Path(folder), ports, other)
            finally:
                other.kill()


if __name__ == "__main__":
    main()
