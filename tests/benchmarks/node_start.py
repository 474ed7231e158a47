"""A node with 100,000 typical flags starts from its disk: time until it is ready, and what it weighs then.

Bounds of the design: 5 s, 450 MB resident with the materialised documents. Each phase is a process of its own.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.benchmarks.bench_nodes import DelayedPeers, create, engine_on, make_project, store_in, write_all
from vexil.node.seams import PeerIdentity

FLAGS = 100_000
WRITERS = 256


async def _node(folder: Path, phase: str) -> None:
    gc.disable()  # as a node's process does until it is ready
    started = time.perf_counter()
    async with store_in(folder, "eu-1") as store, trio.open_nursery() as nursery:
        engine = engine_on(
            store,
            name="eu-1",
            region="eu",
            transport=DelayedPeers().of(PeerIdentity("eu-1", "eu")),
            bootstrap=True,
        )
        await nursery.start(engine.run)
        if phase == "fill":
            await make_project(engine)
            await write_all(engine, [create(i) for i in range(FLAGS)], writers=WRITERS)
            await engine.drain()
        else:
            seconds = time.perf_counter() - started
            project = engine.project("demo")
            assert project is not None
            assert len(project.flag_set("prod").flags) == FLAGS
            print(f"{FLAGS:,} flags: ready after {seconds:6.2f} s   (bound 5)")
            await project.idempotency.until_complete()
            known_s = time.perf_counter() - started
            print(f"last day's keys known after  {known_s:6.2f} s   (writes with a key wait for them)")
            print(f"resident with all documents  {_resident_mb():6.0f} MB  (bound 450)")
        nursery.cancel_scope.cancel()


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    """Fill a folder in one process, start from it in another."""
    if len(sys.argv) == 3:  # a phase of this benchmark, started below
        trio.run(_node, Path(sys.argv[1]), sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        for phase in ("fill", "start"):
            subprocess.run([sys.executable, "-m", "tests.benchmarks.node_start", folder, phase], check=True)


if __name__ == "__main__":
    main()
