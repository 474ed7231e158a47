"""One pass of garbage collection over 100,000 flags: how long it takes, and how long it holds the event loop.

Bound of the design: no hold longer than 10 ms. The whole state is looked at once, as after a start; one flag in ten has
been edited by another node, one in twenty was deleted.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from random import Random

import trio

from tests.benchmarks.kernel import EDITOR, FLAGS, filled
from vexil.crdt.garbage import FoldRemoval
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.collector import Collector
from vexil.node.project import Project
from vexil.node.stability import Stable
from vexil.node.telemetry import Silence

EDITED_ONE_IN = 10
DELETED_ONE_IN = 20


class Everywhere:
    """A ground on which every member has everything, and the store takes it at once."""

    may_collect = True

    def __init__(self) -> None:
        self.removals = 0

    def stability(self, project: Project) -> Stable:
        """All of it."""
        return Stable(dict(project.replica.vv), ())

    async def store_floor(self, project: Project) -> None:
        """The header is made, as the writer would."""
        project.replica.header()

    def note_removed(self, project: Project, removals: list[FoldRemoval]) -> None:
        """Counted."""
        self.removals += len(removals)


def spoil(replica: Replica) -> None:
    """Edits and deletes by another author, who has seen everything."""
    pen = Pen(replica, EDITOR)
    hlc = 1_900_000_000_000 << 16
    for i in range(0, FLAGS, EDITED_ONE_IN):
        name = f"flag/team.feature-{i}"
        (generation,) = replica.cells(name)
        deleted = i % DELETED_ONE_IN == 0
        field, value = ("exists", TOMBSTONE) if deleted else ("description", "Rolled out")
        replica.apply(pen.write([CellWrite(name, generation, field, value)], hlc=hlc + i, author="ben"))


async def passes(collector: Collector, project: Project) -> tuple[float, float, float]:
    """Seconds of one round; the longest that another task had to wait for its turn in it, by clock and by CPU time."""
    longest = longest_cpu = 0.0
    done = False

    async def watch() -> None:
        nonlocal longest, longest_cpu
        while not done:
            before, before_cpu = time.perf_counter(), time.thread_time()
            await trio.lowlevel.checkpoint()
            longest = max(longest, time.perf_counter() - before)
            longest_cpu = max(longest_cpu, time.thread_time() - before_cpu)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.lowlevel.checkpoint()
        started = time.perf_counter()
        await collector.collect(project)
        took = time.perf_counter() - started
        done = True
    return took, longest, longest_cpu


async def run() -> None:
    """Print the table."""
    replica = filled(Replica())
    spoil(replica)
    root = replica.root
    project = Project("demo", replica, on_defect=lambda *facts: print("defect", facts))
    projects: Mapping[str, Project] = {"demo": project}
    ground = Everywhere()
    collector = Collector(ground, projects, Silence(), Random(1), interval_ms=10_000)
    gc.collect()
    gc.freeze()
    took, longest, longest_cpu = await passes(collector, project)
    assert ground.removals, "there was garbage"
    assert replica.root == root
    print(f"first pass, {FLAGS:,} flags             {took:8.2f} s, {ground.removals:,} rows go")
    print(f"longest hold of the event loop        {longest * 1000:8.1f} ms   (bound 10)")
    print(f"the same in CPU time                  {longest_cpu * 1000:8.1f} ms")
    took, longest, longest_cpu = await passes(collector, project)
    print(f"the next pass, nothing to do          {took * 1000:8.2f} ms")


if __name__ == "__main__":
    trio.run(run)
