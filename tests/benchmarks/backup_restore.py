"""A project of 100,000 flags to a file and back: seconds, bytes, and for how long either holds up everybody else.

The file is restored beside its original, so the cells are renamed as well.
Run ``python -m tests.benchmarks.backup_restore [FLAGS]``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Final

import trio

from tests.benchmarks.bench_nodes import DelayedPeers, engine_on, settle, store_in
from tests.benchmarks.snapshot_join import fill, resident_mib, state_bytes
from vexil.node.seams import PeerIdentity

FLAGS: Final = 100_000


class Holds:
    """The longest time for which the event loop did not come round."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        last_s = perf_counter()
        while True:
            await trio.lowlevel.checkpoint()
            now_s = perf_counter()
            self.longest_s = max(self.longest_s, now_s - last_s)
            last_s = now_s

    def taken(self) -> float:
        longest_s, self.longest_s = self.longest_s, 0.0
        return longest_s


async def main(flags: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        async with store_in(Path(name), "eu-1") as store, trio.open_nursery() as nursery:
            transport = DelayedPeers().of(PeerIdentity("eu-1", "eu"))
            engine = engine_on(store, name="eu-1", region="eu", transport=transport, bootstrap=True)
            await nursery.start(engine.run)
            await fill(engine, flags)
            settle()
            holds = Holds()
            nursery.start_soon(holds.watch)
            began_s = perf_counter()
            data = b"".join([piece async for piece in await engine.backups.begin(engine.projects["demo"])])
            took_s = perf_counter() - began_s
            share = len(data) / state_bytes(engine)
            print(f"backup:  {took_s:.1f} s, {len(data) / 1e6:.1f} MB ({share:.0%} of the state)")
            print(f"         longest hold {holds.taken() * 1000:.0f} ms, {resident_mib():.0f} MiB resident")
            began_s = perf_counter()
            await engine.restoring.restore("copy", data, author="bench", dry_run=False)
            print(f"restore: {perf_counter() - began_s:.1f} s")
            print(f"         longest hold {holds.taken() * 1000:.0f} ms, {resident_mib():.0f} MiB resident")
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else FLAGS)
