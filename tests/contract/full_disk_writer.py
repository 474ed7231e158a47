"""A process whose file system takes no more bytes from some point on: appends until it is told no, then once more."""

from __future__ import annotations

import itertools
import resource
import signal
import sys
from pathlib import Path

import trio

from tests.contract.rows import A, B, row
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import JournalFull


async def append_until_full(path: Path, limit_bytes: int) -> None:
    async with SqliteStore.open(path) as store:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, unlimited[1]))
        acknowledged = 0
        try:
            for seq in itertools.count(1):
                await store.append([row(A, seq, body=bytes(2_000))])
                acknowledged = seq
        except JournalFull:
            pass
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        await store.append([row(B, 1)])
        sys.stdout.write(f"{acknowledged}\n")


if __name__ == "__main__":
    trio.run(append_until_full, Path(sys.argv[1]), int(sys.argv[2]))
