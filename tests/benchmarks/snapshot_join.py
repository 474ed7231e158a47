"""A node without a state joins a project of 100,000 flags whose log is gone, over HTTP, each end in its own process.

Then the same node misses a thousand changes, whose log is gone as well, and comes back by a second snapshot.

Printed of each end: seconds of CPU, the longest hold of its event loop, memory; and the bytes on the wire. The limit
to measure those against is the state itself: the sum of its cells and of the names that they stand under. Both ends
keep the garbage collector as `vexil.node.adapters.process` does. Run ``python -m tests.benchmarks.snapshot_join
[FLAGS]``.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgpack
import trio

from tests.benchmarks.bench_nodes import (
    CountingTelemetry,
    make_project,
    toggle,
    write_all,
)
from tests.benchmarks.two_processes import FIRST, SECOND, Other, base_port, beside, listening
from tests.benchmarks.typical_flag import FIELDS
from vexil.crdt.pen import NEW_GENERATION, CellWrite
from vexil.node.adapters import python_memory
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.seams import PeerIdentity

FLAGS: Final = 100_000
FLAGS_A_CHANGE: Final = 400
CHANGES: Final = 1_000
LIMIT_S: Final = 30.0
LIMIT_RATIO: Final = 1.1
LOOK_S: Final = 0.005
"""How often the event loop is looked at."""


def state_bytes(engine: Engine) -> int:
    """The cells of the project, and every name once."""
    total = 0
    for name, generations in engine.projects["demo"].replica.objects.items():
        total += len(name.encode())
        for fields in generations.values():
            total += sum(len(field.encode()) + len(cell) for field, cell in fields.items())
    return total


def resident_mib() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


class Watch:
    """How one process fares from `begin` on."""

    def __init__(self) -> None:
        self.holds_ms: list[tuple[float, float]] = []
        """Of each look how much too late it was, and how much of the CPU the loop had until then."""
        self.peak_mib = self.before_mib = 0.0
        self._cpu_s = 0.0

    def begin(self) -> None:
        """Forget what was before."""
        self.holds_ms = []
        self.peak_mib = self.before_mib = resident_mib()
        self._cpu_s = time.process_time()

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            began_s, cpu_s = time.perf_counter(), time.thread_time()
            await trio.sleep(LOOK_S)
            late_s = time.perf_counter() - began_s - LOOK_S
            self.holds_ms.append((late_s * 1000, min(late_s, time.thread_time() - cpu_s) * 1000))
            self.peak_mib = max(self.peak_mib, resident_mib())

    def line(self) -> str:
        """What is printed of it."""
        cpu_s = time.process_time() - self._cpu_s
        late, busy = (
            ", ".join(f"{hold:.0f}" for hold in sorted(kind)[:-6:-1])
            for kind in zip(*self.holds_ms, strict=True)
        )
        return (
            f"{cpu_s:.1f} s of CPU; longest holds of the event loop {late} ms, of its own CPU {busy} ms; "
            f"{self.before_mib:.0f} MiB before, {self.peak_mib:.0f} at most, {resident_mib():.0f} at the end"
        )


async def fill(engine: Engine, flags: int) -> None:
    """Create the flags, and forget the log of it."""
    await make_project(engine)
    for start in range(0, flags, FLAGS_A_CHANGE):
        writes = [
            CellWrite(f"flag/team.feature-{i}", NEW_GENERATION, field, value)
            for i in range(start, min(start + FLAGS_A_CHANGE, flags))
            for field, value in FIELDS.items()
        ]
        intent = Intent(writes)
        await engine.write("demo", lambda _, intent=intent: intent, author="bench")  # type: ignore[misc]  # mypy: a lambda's default
    await forget_log(engine)


async def forget_log(engine: Engine) -> None:
    """Drop every row of the project's log."""
    await engine.drain()
    through = dict(engine.projects["demo"].replica.vv)
    await engine.seams.journal.trim("demo", through)
    await engine.seams.store.trim_changes("demo", through)


@asynccontextmanager
async def _node(
    folder: Path, identity: PeerIdentity, port: int, telemetry: CountingTelemetry, watch: Watch
) -> AsyncIterator[Engine]:
    """A node that is ready, and watched since it began to load."""
    async with (
        listening(folder, identity, port, telemetry=telemetry) as engine,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(watch.run)
        watch.begin()
        await nursery.start(engine.run)
        yield engine
        nursery.cancel_scope.cancel()


async def _send(folder: Path, port: int, flags: int) -> None:
    """The child: make the flags and be joined; then change some of them out of the other's sight, and be read again."""
    watch = Watch()
    filled = trio.Event()
    async with (
        _node(folder, FIRST, port, CountingTelemetry(), watch) as engine,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(python_memory.run, filled.wait)
        await fill(engine, flags)
        made = [state_bytes(engine), engine.projects["demo"].replica.root_hash()]
        filled.set()
        await _begin(watch)
        print(msgpack.packb(made).hex(), flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        print(watch.line(), flush=True)
        engine.links.set("eu", "us", cut=True)
        toggles = [toggle(i, enabled=True) for i in range(0, flags, flags // CHANGES)]
        await write_all(engine, toggles, writers=CHANGES // 10)
        await forget_log(engine)
        engine.links.set("eu", "us", cut=False)
        await _begin(watch)
        print(engine.projects["demo"].replica.root_hash(), flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        print(watch.line(), flush=True)
        await trio.sleep_forever()


async def _begin(watch: Watch) -> None:
    # The look that was going on, and the collection of memory, are over then.
    for _ in range(2):
        await trio.sleep(10 * LOOK_S)
    watch.begin()


async def _join(folder: Path, port: int, flags: int, other: Other) -> None:
    async def told(line: str) -> str:
        other.tell(line)
        return await other.says()

    size, root = msgpack.unpackb(bytes.fromhex(other.said()))
    counted = CountingTelemetry()
    watch = Watch()
    load = os.getloadavg()[0]
    began_s = time.perf_counter()
    async with (
        _node(folder, SECOND, port, counted, watch) as engine,
        trio.open_nursery() as nursery,
    ):
        took_s = time.perf_counter() - began_s
        nursery.start_soon(python_memory.run, engine.until_ready)
        project = engine.projects["demo"]
        assert project.replica.root_hash() == root
        assert len(project.flag_keys()) == flags
        received = counted.bytes["received", "payload"]
        print(f"{flags:,} flags, {size / 1e6:.1f} MB of cells and names; load average {load:.1f} before")
        print(f"joined in {took_s:.1f} s (limit {LIMIT_S} s)")
        print(f"received {received / 1e6:.1f} MB: {received / size:.3f} x the state (limit {LIMIT_RATIO} x)")
        print(f"joiner: {watch.line()}")
        print(f"sender: {await told('how was it')}")
        root = await other.says()
        taken = project.snapshots_taken
        await _begin(watch)
        load = os.getloadavg()[0]
        began_s = time.perf_counter()
        await engine.loops.catch_up(timeout_ms=300_000)
        took_s = time.perf_counter() - began_s
        assert (project.replica.root_hash(), project.snapshots_taken) == (root, taken + 1)
        print(f"came back over {CHANGES} changes in {took_s:.1f} s; load average {load:.1f} before")
        print(f"who came back: {watch.line()}")
        print(f"sender: {await told('how was it')}")
        nursery.cancel_scope.cancel()


def main() -> None:
    """Measure and print; as the child process, be the sender."""
    flags = int(sys.argv[1]) if len(sys.argv) > 1 else FLAGS
    python_memory.hold_off()
    if len(sys.argv) > 2:
        trio.run(_send, Path(sys.argv[2]), int(sys.argv[3]), flags)
        return
    port = base_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        beside("tests.benchmarks.snapshot_join", flags, folder, port) as other,
    ):
        trio.run(_join, Path(folder), port, flags, other)


if __name__ == "__main__":
    main()
