"""Journalled local writes at the engine: 64 writers, group commit, each flag read again after its write.

Bound of the design: 10,000 changes/s. Beside it, in the same run, the bare journal with the same batches.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from random import Random

import trio

from tests.benchmarks.bench_nodes import (
    DelayedPeers,
    create,
    engine_on,
    make_project,
    settle,
    store_in,
    toggle,
    write_all,
)
from vexil.node.seams import LogRecord, PeerIdentity

FLAGS = 5_000
WRITES = 40_000
WRITERS = 64


async def _run(folder: Path) -> None:
    async with store_in(folder, "bare") as store:
        raw = bytes(150)
        started = time.perf_counter()
        for batch in range(WRITES // WRITERS):
            first = batch * WRITERS
            await store.append([LogRecord("demo", 7, first + n + 1, raw) for n in range(WRITERS)])
        print(
            f"bare journal, batches of {WRITERS}    {WRITES / (time.perf_counter() - started):10,.0f} changes/s"
        )
    async with store_in(folder, "node") as store, trio.open_nursery() as nursery:
        engine = engine_on(
            store,
            name="eu-1",
            region="eu",
            transport=DelayedPeers().of(PeerIdentity("eu-1", "eu")),
            bootstrap=True,
        )
        await nursery.start(engine.run)
        await make_project(engine)
        await write_all(engine, [create(i) for i in range(FLAGS)], writers=WRITERS)
        rng = Random(3)
        decisions = [toggle(rng.randrange(FLAGS), enabled=bool(n & 1)) for n in range(WRITES)]
        settle()
        started = time.perf_counter()
        await write_all(engine, decisions, writers=WRITERS)
        rate = WRITES / (time.perf_counter() - started)
        print(f"engine, {WRITERS} writers           {rate:10,.0f} changes/s   (bound 10,000)")
        nursery.cancel_scope.cancel()


def main() -> None:
    """Print changes per second."""
    with tempfile.TemporaryDirectory() as folder:
        trio.run(_run, Path(folder))


if __name__ == "__main__":
    main()
