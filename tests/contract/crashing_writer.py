"""A process to be killed: appends batches to a journal and says, after each, that it is acknowledged."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import trio

from tests.contract.rows import row
from vexil.node.adapters.sqlite import SqliteStore

BATCH = 7


async def append_for_ever(path: Path, incarnation: int) -> None:
    async with SqliteStore.open(path) as store:
        for number in itertools.count():
            records = [row(incarnation, number * BATCH + i + 1, body=bytes(900)) for i in range(BATCH)]
            await store.append(records)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    trio.run(append_for_ever, Path(sys.argv[1]), int(sys.argv[2]))
