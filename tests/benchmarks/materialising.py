"""How fast a typical flag is read, and what the documents of 100,000 flags weigh.

Run: ``python -m tests.benchmarks.materialising``. A typical flag has 8 cells in 2 environments: existence, two
variants, enabled and default in both environments, one rule.
"""

from __future__ import annotations

import gc
import tracemalloc
from timeit import repeat

from tests.unit.crdt.authors import ENVIRONMENTS
from vexil.crdt.cell import EMPTY, write
from vexil.crdt.change import Dot
from vexil.crdt.materialise import document, read_flag, read_segment, update_members
from vexil.crdt.payload import encode

FLAGS = 100_000
MEMBERS = 1_000_000
INCARNATION = 0x9F3C_5A21_77D0_E46B
READ_US_MAX = 35
DOCUMENTS_MB_MAX = 240

Cells = dict[Dot, dict[str, bytes]]


def typical_flag(number: int) -> Cells:
    """The cells of the flag that change ``number`` created."""
    values = {
        "exists": {"epoch": 1, "created": (1 << 56) + number, "type": "boolean"},
        "variant/on": True,
        "variant/off": False,
        "env/dev/enabled": True,
        "env/dev/default": "on",
        "env/prod/enabled": True,
        "env/prod/default": "off",
        f"env/prod/rule/r{number:08x}": {
            "description": "staff",
            "if": {"ends_with": [{"var": "email"}, f"@{number}.example.com"]},
            "serve": "on",
        },
    }
    return {
        (INCARNATION, number): {
            field: write(
                EMPTY,
                dot=(INCARNATION, number),
                hlc=(1 << 56) + number,
                payload=encode("ann@example.com", value),
                replaced=(),
            )
            for field, value in values.items()
        }
    }


def documents_of(number: int, cells: Cells) -> list[dict[str, object]]:
    """One reading of a flag, as a node does it after each change."""
    state = read_flag(f"flag-{number}", cells, ENVIRONMENTS)
    assert state is not None
    return [document(state, environment) for environment in ENVIRONMENTS]


def main() -> None:
    """Print the table."""
    flags = [typical_flag(number) for number in range(1, 1001)]
    rounds = repeat(lambda: [documents_of(n, cells) for n, cells in enumerate(flags)], number=5, repeat=5)
    print(f"read_flag + 2 documents  {min(rounds) / 5_000 * 1e6:8.1f} µs a flag   (bound {READ_US_MAX})")

    gc.collect()
    tracemalloc.start()
    documents = [documents_of(number, typical_flag(number)) for number in range(1, FLAGS + 1)]
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{len(documents):,} flags' documents  {size / 1e6:8.1f} MB          (bound {DOCUMENTS_MB_MAX})")
    del documents

    generation = (INCARNATION, 1)
    member = write(EMPTY, dot=generation, hlc=1 << 56, payload=encode("ann", True), replaced=())
    fields = {f"member/user-{number}": member for number in range(MEMBERS)}
    exists = write(EMPTY, dot=generation, hlc=1 << 56, payload=encode("ann", {"epoch": 1}), replaced=())
    segment: Cells = {generation: {**fields, "exists": exists}}
    whole = repeat(lambda: read_segment("s", segment), number=1, repeat=3)
    print(f"read_segment, {MEMBERS:,} members  {min(whole):6.2f} s")
    state = read_segment("s", segment)
    assert state is not None
    touched = ["exists", "member/user-7"]
    one = repeat(
        lambda: update_members(state.members, segment, shown=generation, fields=touched),
        number=10_000,
        repeat=3,
    )
    print(f"update_members, one member  {min(one) / 10_000 * 1e6:8.1f} µs")


if __name__ == "__main__":
    main()
