"""What 10,000 retired incarnations cost: bytes of a digest's answer, of the header, and of an announcement.

Bound of the design: digests as small as with none retired. Each incarnation is one start of a node that wrote once.
"""

from __future__ import annotations

import time

from vexil.crdt.change import NO_GENERATION
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT, retired_field
from vexil.node.gossip import messages
from vexil.node.retirement import RETIRE_MAX

INCARNATIONS = 10_000
LIVING = 6
FIRST = 0x1000


def grown(ended: int) -> Replica:
    """A project that ``ended`` processes have written to, and `LIVING` that still run."""
    replica = Replica()
    for i in range(ended + LIVING):
        writes = [
            CellWrite(f"flag/f{i % 100}.{i}", NEW_GENERATION, "exists", {"epoch": 1, "type": "boolean"})
        ]
        # Nothing is seen of the others: what is measured is vectors, not the deps of ten thousand strangers.
        replica.apply(Pen(Replica(), FIRST + i).write(writes, hlc=(1 << 40) + i, author="ada"))
    return replica


def retire(replica: Replica, ended: int) -> int:
    """Retire the first ``ended``, as the node does; the number of changes."""
    pen = Pen(replica, FIRST + ended)
    changes = 0
    for start in range(FIRST, FIRST + ended, RETIRE_MAX):
        writes = [
            CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(i), replica.vv[i])
            for i in range(start, min(start + RETIRE_MAX, FIRST + ended))
        ]
        replica.apply(pen.write(writes, hlc=(1 << 41) + start, author="node:eu-1"))
        changes += 1
    return changes


def row(label: str, replica: Replica) -> int:
    """Print the sizes of one state; the bytes of a digest's answer about it."""
    heads = messages.encode(
        {"projects": {"demo": [messages.flat_heads(replica.vv, replica.heads()), replica.root_hash()]}}
    )
    announced = messages.encode({"vv": messages.flat_vv(replica.vv)})
    print(
        f"{label:34} digest answer {len(heads):9,} B   header {len(replica.header()):9,} B   "
        f"announcement {len(announced):9,} B"
    )
    return len(heads)


def main() -> None:
    """Print the table."""
    none = row("nothing has ended", grown(0))
    replica = grown(INCARNATIONS)
    row(f"{INCARNATIONS:,} ended, none retired", replica)
    root = replica.recomputed_root()
    assert root == replica.root
    started = time.perf_counter()
    changes = retire(replica, INCARNATIONS)
    took = time.perf_counter() - started
    all_retired = row(f"{INCARNATIONS:,} retired", replica)
    print(
        f"{changes} changes retire them in {took:.2f} s; the digest is {all_retired / none:.2f} times that of none"
    )
    assert len(replica.retired) == INCARNATIONS
    assert all_retired <= none + 64, "a digest must not grow with what is retired"


if __name__ == "__main__":
    main()
