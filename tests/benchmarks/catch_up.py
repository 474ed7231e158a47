"""A node that was away pulls 50,000 changes of 1,000 flags from one peer: over HTTP, each end in a process of its own.

Bounds of the design: 20,000 changes/s, and at most 1.05 times the bytes of the encoded changes on the wire. The node
that is pulled from runs in a child process, so that what is measured is what the node that catches up does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.benchmarks.bench_nodes import (
    create,
    make_project,
    settle,
    toggle,
    write_all,
)
from tests.benchmarks.two_processes import FIRST, SECOND, Other, base_port, beside, listening
from vexil.node.engine import Engine
from vexil.node.seams import LogRecord, PeerAddress, PeerTransport

FLAGS = 1_000
CHANGES = 50_000
WRITERS = 64
JOIN_TIMEOUT_MS = 60_000
PAGE_BYTES = 4 << 20


class _Metered:
    """Counts the bytes of whole messages, both ways."""

    _inner: PeerTransport

    def __init__(self) -> None:
        self.bytes = 0

    def over(self, inner: PeerTransport) -> PeerTransport:
        self._inner = inner
        return self

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        answer = await self._inner.call(peer, method, body, timeout_ms=timeout_ms)
        self.bytes += len(body) + len(answer)
        return answer


async def _be_pulled_from(folder: Path, port: int) -> None:
    """The child: make the flags, and when it is told to the changes; then answer pulls until killed."""
    async with listening(folder, FIRST, port) as engine, trio.open_nursery() as nursery:
        await nursery.start(engine.run)
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


async def _catch_up(folder: Path, port: int, other: Other) -> None:
    metered = _Metered()
    async with (
        listening(folder, SECOND, port, by_way_of=metered.over) as engine,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(engine.run)
        await engine.loops.catch_up(timeout_ms=JOIN_TIMEOUT_MS)
        target = engine.project("demo")
        assert target is not None
        assert len(target.flag_keys()) == FLAGS, "the node that was away had not joined before"
        other.tell("go on")
        root = await other.says()
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
        nursery.cancel_scope.cancel()


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


def main() -> None:
    """Print rate and byte ratio; as the child process, be the node that is pulled from."""
    if len(sys.argv) > 1:
        trio.run(_be_pulled_from, Path(sys.argv[1]), int(sys.argv[2]))
        return
    port = base_port()
    with tempfile.TemporaryDirectory() as folder, beside("tests.benchmarks.catch_up", folder, port) as other:
        assert other.said() == "flags", "the other node did not start"
        trio.run(_catch_up, Path(folder), port, other)


if __name__ == "__main__":
    main()
