"""A node that was away pulls 50,000 changes of 1,000 flags from one peer; both ends share this process.

Bounds of the design: 20,000 changes/s, and at most 1.05 times the bytes of the encoded changes on the wire.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import trio

from tests.benchmarks.bench_nodes import (
    CountingTelemetry,
    DelayedPeers,
    create,
    engine_on,
    make_project,
    settle,
    store_in,
    toggle,
    write_all,
)
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import LogRecord, PeerAddress, PeerIdentity, PeerTransport

FLAGS = 1_000
CHANGES = 50_000
WRITERS = 64


class _Metered:
    """Counts the bytes of whole messages, both ways."""

    def __init__(self, inner: PeerTransport) -> None:
        self._inner = inner
        self.bytes = 0

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        answer = await self._inner.call(peer, method, body, timeout_ms=timeout_ms)
        self.bytes += len(body) + len(answer)
        return answer


async def _run(folder: Path) -> None:
    peers = DelayedPeers()
    async with (
        store_in(folder, "eu-1") as first,
        store_in(folder, "us-1") as second,
        trio.open_nursery() as nursery,
    ):
        writer = engine_on(
            first,
            name="eu-1",
            region="eu",
            transport=peers.of(PeerIdentity("eu-1", "eu")),
            bootstrap=True,
            digests=False,
        )
        metered = _Metered(peers.of(PeerIdentity("us-1", "us")))
        telemetry = CountingTelemetry()
        reader = engine_on(
            second,
            name="us-1",
            region="us",
            transport=metered,
            seeds=("eu-1",),
            telemetry=telemetry,
            digests=False,
        )
        peers.engines = {"eu-1": writer, "us-1": reader}
        await nursery.start(writer.run)
        source = await make_project(writer)
        await write_all(writer, [create(i) for i in range(FLAGS)], writers=WRITERS)
        await nursery.start(reader.run)
        target = reader.project("demo")
        assert target is not None
        assert await reader.wait_for("demo", source.replica.vv, 60_000)
        writer.links.set("eu", "us", cut=True)
        toggles = [toggle(i % FLAGS, enabled=bool(i // FLAGS & 1)) for i in range(CHANGES)]
        await write_all(writer, toggles, writers=WRITERS)
        payload = sum(
            len(record.raw) for record in await _missing(first, target.replica.vv, source.replica.vv)
        )
        writer.links.set("eu", "us", cut=False)
        before = metered.bytes
        settle()
        started = time.perf_counter()
        await reader.loops.catch_up(timeout_ms=120_000)
        seconds = time.perf_counter() - started
        assert target.replica.root == source.replica.root, "the reader has not caught up"
        print(f"catch-up of {CHANGES:,} changes {CHANGES / seconds:10,.0f} changes/s   (bound 20,000)")
        ratio = (metered.bytes - before) / payload
        print(f"bytes on the wire / encoded   {ratio:10.3f}             (bound 1.05)")
        nursery.cancel_scope.cancel()


async def _missing(store: SqliteStore, after: dict[int, int], through: dict[int, int]) -> list[LogRecord]:
    records: list[LogRecord] = []
    reached = dict(after)
    while page := await store.read_changes("demo", after=reached, through=through, limit_bytes=4 << 20):
        records += page
        for record in page:
            reached[record.incarnation] = record.seq
    return records


def main() -> None:
    """Print rate and byte ratio."""
    with tempfile.TemporaryDirectory() as folder:
        trio.run(_run, Path(folder))


if __name__ == "__main__":
    main()
