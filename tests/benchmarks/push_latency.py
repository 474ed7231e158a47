"""From the acknowledgement-to-be of a write to the memory of a node two regions away, with injected latency.

Bound of the design: the one-way latency + 50 ms at the median.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import trio

from tests.benchmarks.bench_nodes import DelayedPeers, create, engine_on, make_project, store_in
from vexil.node.seams import PeerIdentity

ONE_WAY_S = 0.040
WRITES = 200
PAUSE_S = 0.02


async def _run(folder: Path) -> None:
    peers = DelayedPeers(ONE_WAY_S)
    async with (
        store_in(folder, "eu-1") as first,
        store_in(folder, "us-1") as second,
        trio.open_nursery() as nursery,
    ):
        here = engine_on(
            first, name="eu-1", region="eu", transport=peers.of(PeerIdentity("eu-1", "eu")), bootstrap=True
        )
        there = engine_on(
            second, name="us-1", region="us", transport=peers.of(PeerIdentity("us-1", "us")), seeds=("eu-1",)
        )
        peers.engines = {"eu-1": here, "us-1": there}
        await nursery.start(here.run)
        await make_project(here)
        await nursery.start(there.run)
        delays_ms = []
        for i in range(WRITES):
            started = time.perf_counter()
            written = await here.write("demo", create(i), author="bench")
            assert written.dot is not None
            assert await there.wait_for("demo", dict([written.dot]), 10_000)
            delays_ms.append((time.perf_counter() - started) * 1000)
            await trio.sleep(PAUSE_S)
        delays_ms.sort()
        p50, p99 = delays_ms[len(delays_ms) // 2], delays_ms[len(delays_ms) * 99 // 100]
        one_way_ms = ONE_WAY_S * 1000
        print(
            f"one way {one_way_ms:.0f} ms: in remote memory, p50 {p50:8.1f} ms   (bound {one_way_ms + 50:.0f})"
        )
        print(f"{'':34} p99 {p99:8.1f} ms")
        nursery.cancel_scope.cancel()


def main() -> None:
    """Print percentiles in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        trio.run(_run, Path(folder))


if __name__ == "__main__":
    main()
