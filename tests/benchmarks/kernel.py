"""Applying received changes to a replica of 100,000 flags of 8 cells: decode, vector, join, hash.

Bounds of the design: 20 µs a change of two cells, 60 µs with re-reading the flag.
"""

from __future__ import annotations

import gc
import time

from tests.benchmarks.typical_flag import FIELDS
from vexil.crdt.change import decode
from vexil.crdt.frontier import Verdict
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.project import Project

FLAGS = 100_000
EDITS = 20_000
AUTHOR, EDITOR = 0x9F3C5A2177D0E46B, 0x1D44C0FFEE123457


def filled(replica: Replica) -> Replica:
    """``replica`` with `FLAGS` flags of one author."""
    pen = Pen(replica, AUTHOR)
    for i in range(FLAGS):
        writes = [CellWrite(f"flag/team.feature-{i}", NEW_GENERATION, f, v) for f, v in FIELDS.items()]
        replica.apply(pen.write(writes, hlc=(1_700_000_000_000 + i) << 16, author="ada"))
    return replica


def edits(replica: Replica, incarnation: int, *, enabled: bool) -> list[bytes]:
    """One encoded change of two cells for each of the first `EDITS` flags, applied to ``replica``."""
    pen = Pen(replica, incarnation)
    raws = []
    for i in range(EDITS):
        name, generation = f"flag/team.feature-{i}", (AUTHOR, i + 1)
        exists = {"epoch": 1, "type": "boolean", "created": 1}
        change = pen.write(
            [
                CellWrite(name, generation, "exists", exists),
                CellWrite(name, generation, "env/prod/enabled", enabled),
            ],
            hlc=(1_800_000_000_000 + i) << 16,
            author="ben",
        )
        replica.apply(change)
        raws.append(change.raw)
    return raws


def main() -> None:
    """Print µs a change."""
    here, there = filled(Replica()), filled(Replica())
    project = Project("demo", here, on_defect=lambda *facts: print("defect", facts))
    project.configure(["prod"], "v3")
    gc.collect()
    gc.freeze()
    for label, incarnation, read_again, bound in (
        ("apply, author's own lane", AUTHOR, False, 20),
        ("apply, another author's lane", EDITOR, False, 20),
        ("apply and read the flag again", EDITOR, True, 60),
    ):
        raws = edits(there, incarnation, enabled=read_again)
        started = time.perf_counter()
        for raw in raws:
            change = decode(raw)
            assert here.verdict(change) is Verdict.NEXT
            here.apply(change)
            if read_again:
                project.refresh([change])
        each_us = (time.perf_counter() - started) / len(raws) * 1e6
        print(f"{label:32} {each_us:8.1f} µs a change   (bound {bound})")
    assert here.root == there.root == here.recomputed_root()


if __name__ == "__main__":
    main()
