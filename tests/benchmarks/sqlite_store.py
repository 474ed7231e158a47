"""Speed of the embedded store: journal, fold and catch-up. ``python -m tests.benchmarks.sqlite_store [folder]``.

The folder decides which disk is measured; without one it is the system's temporary folder.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import trio

from vexil.crdt.change import Operation, encode
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import FoldEntry, LogRecord

RECORDS = 200_000
BATCH = 64
WRITERS = 4
FOLD_ENTRIES = 800_000
PAGE_BYTES = 1 << 20
INCARNATIONS = 20


def change_records(count: int, rng: random.Random) -> list[LogRecord]:
    """Changes of a few incarnations in turn, each with the one before it as its cause."""
    incarnations = [rng.getrandbits(64) | 1 for _ in range(INCARNATIONS)]
    records = []
    previous: dict[int, int] = {}
    for i in range(count):
        incarnation = incarnations[i % INCARNATIONS]
        seq = i // INCARNATIONS + 1
        write = Operation(
            f"flag/f{i % 5000}", (1, 1), "env/prod/enabled", rng.randbytes(40), ((incarnation, seq),)
        )
        change = encode(
            dot=(incarnation, seq), hlc=i << 16, deps=previous, previous=bytes(16), author="someone@example.org",
            message="", idempotency=None, operations=(write,), before=(True,),
        )  # fmt: skip
        previous = {incarnation: seq}
        records.append(LogRecord("demo", incarnation, seq, change.raw))
    return records


def fold_entries(count: int, rng: random.Random) -> list[FoldEntry]:
    """Forty cells a flag, one lane each."""
    incarnations = [rng.getrandbits(64) | 1 for _ in range(INCARNATIONS)]
    entries = []
    for i in range(count):
        flag, cell = divmod(i, 40)
        generation = (incarnations[flag % 7], flag + 1)
        lane = (incarnations[i % INCARNATIONS], rng.randbytes(60), i + 1, i)
        entries.append(FoldEntry(f"flag/f{flag:06}", generation, f"env/prod/rule/{cell:02}", *lane))
    return entries


def report(what: str, count: int, started: float) -> None:
    seconds = time.perf_counter() - started
    print(f"{what:<52} {count / seconds:>10,.0f}/s {seconds:>8.2f} s")


async def measure_log(path: Path) -> None:
    rng = random.Random(1)
    records = change_records(RECORDS, rng)
    async with SqliteStore.open(path / "one.sqlite") as store:
        started = time.perf_counter()
        for i in range(0, RECORDS, BATCH):
            await store.append(records[i : i + BATCH])
        report(f"journal, one writer, {BATCH} records an append", RECORDS, started)

        started = time.perf_counter()
        count = sum([len(batch) async for batch in store.replay(after={})])
        assert count == RECORDS
        report("replay", count, started)

        through: dict[int, int] = {}
        for record in records:
            through[record.incarnation] = record.seq
        after: dict[int, int] = {}
        pages = 0
        started = time.perf_counter()
        while page := await store.read_changes("demo", after=after, through=through, limit_bytes=PAGE_BYTES):
            after.update((record.incarnation, record.seq) for record in page)
            pages += 1
        assert after == through
        report(f"catch-up, {INCARNATIONS} incarnations, {pages} pages", RECORDS, started)

    async with SqliteStore.open(path / "many.sqlite") as store:
        started = time.perf_counter()

        async def write_share(share: int) -> None:
            for i in range(share * BATCH, RECORDS, BATCH * WRITERS):
                await store.append(records[i : i + BATCH])

        async with trio.open_nursery() as nursery:
            for share in range(WRITERS):
                nursery.start_soon(write_share, share)
        report(f"journal, {WRITERS} writers, {BATCH} records an append", RECORDS, started)
        started = time.perf_counter()
        for record in records[:2_000]:
            await store.append([record._replace(project="single")])
        report("journal, one writer, 1 record an append", 2_000, started)


async def measure_fold(path: Path) -> None:
    async with SqliteStore.open(path / "fold.sqlite") as store:
        entries = fold_entries(FOLD_ENTRIES, random.Random(1))
        started = time.perf_counter()
        await store.write_fold("demo", entries)
        report("write_fold, new entries", FOLD_ENTRIES, started)
        del entries  # else the garbage collector's walks over them are measured too
        started = time.perf_counter()
        count = 0
        async for fold in store.read_fold("demo"):
            count += len(fold)
        assert count == FOLD_ENTRIES
        report("read_fold", count, started)


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        trio.run(measure_fold, Path(folder))
        trio.run(measure_log, Path(folder))


if __name__ == "__main__":
    main()
