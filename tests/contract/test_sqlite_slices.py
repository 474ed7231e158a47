"""What SQLite does in slices (trims, tombstones, drops) may be killed or refused between any two of them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.contract.faulty_connection import FaultyConnections, failing
from tests.contract.rows import A, B, C, causes_of_row, gather, lane, row, tangled_rows, vector_of
from vexil.crdt.garbage import FoldRemoval
from vexil.node.adapters import sqlite_fold, sqlite_log
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import JournalError, StoreIndeterminate, StoreUnavailable

ROWS = tangled_rows(random.Random(2), count=40)
THROUGH = {incarnation: seq - 3 for incarnation, seq in vector_of(ROWS).items()}
ENTRIES = sorted(lane(f"flag/{n // 3}", (A, B, C)[n % 3], lane_seq=n + 1) for n in range(30))
REMOVALS = [FoldRemoval(*entry[:4], entry.lane_seq) for entry in ENTRIES[:25]]
PAST = [row(A, seq, project="past") for seq in range(20, 0, -1)]

Step = Callable[[SqliteStore], Awaitable[None]]
STEPS: dict[str, Step] = {
    "trim": lambda store: store.trim("p", THROUGH),
    "trim_changes": lambda store: store.trim_changes("p", THROUGH),
    "write_past": lambda store: store.write_past("past", PAST),
    "collect_fold": lambda store: store.collect_fold("p", REMOVALS),
    "drop_fold": lambda store: store.drop_fold("p", 8),
}
SLICED = {"trim", "trim_changes", "collect_fold", "drop_fold"}


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_fold, "FOLD_CHUNK_ROWS", 7)
    monkeypatch.setattr(sqlite_log, "TRIM_ROWS", 7)


async def filled(store: SqliteStore) -> None:
    await store.append(ROWS)
    for checkpoint in (0, 8):
        await store.write_fold("p", ENTRIES, checkpoint=checkpoint)


async def contents(store: SqliteStore) -> tuple[object, ...]:
    return (
        [r.raw for r in await store.read_history("p", before=None, limit=999)],
        [r.raw for r in await store.read_history("past", before=None, limit=999)],
        await gather(store.read_fold("p")),
        await gather(store.read_fold("p", checkpoint=8)),
    )


async def outcome(path: Path, name: str) -> tuple[object, ...]:
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        await filled(store)
        await STEPS[name](store)
        return await contents(store)


@pytest.mark.parametrize("name", STEPS)
async def test_a_process_killed_between_any_two_slices_is_made_good_by_doing_it_again(
    tmp_path: Path, name: str
) -> None:
    expected = await outcome(tmp_path / "whole.sqlite", name)
    connections = FaultyConnections()
    copies: list[Path] = []
    path = tmp_path / "node.sqlite"
    async with SqliteStore.open(path, causes=causes_of_row, connect=connections) as store:
        await filled(store)
        before = connections.writer.commits

        def copy() -> None:
            folder = tmp_path / str(len(copies))
            folder.mkdir()
            for file in (path, path.with_name(f"{path.name}-wal")):
                shutil.copyfile(file, folder / file.name)
            copies.append(folder / path.name)
            connections.writer.before_commit = connections.writer.after_commit = copy

        connections.writer.before_commit = connections.writer.after_commit = copy
        await STEPS[name](store)
        connections.writer.before_commit = connections.writer.after_commit = None
        commits = connections.writer.commits - before
        assert commits >= (4 if name in SLICED else 1)
        assert await contents(store) == expected
    assert len(copies) == 2 * commits
    for left in copies:
        async with SqliteStore.open(left, causes=causes_of_row) as store:
            seqs: dict[int, list[int]] = {}
            for record in await gather(store.replay(after={})):
                if record.project == "p":
                    seqs.setdefault(record.incarnation, []).append(record.seq)
            for left_of_one in seqs.values():
                assert left_of_one == list(range(left_of_one[0], left_of_one[-1] + 1))
            await STEPS[name](store)
            assert await contents(store) == expected


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("slice_number", range(3))
async def test_a_disk_that_is_full_at_some_slice_is_said_and_it_can_be_done_again(
    tmp_path: Path, name: str, slice_number: int
) -> None:
    expected = await outcome(tmp_path / "whole.sqlite", name)
    connections = FaultyConnections()
    async with SqliteStore.open(tmp_path / "node.sqlite", causes=causes_of_row, connect=connections) as store:
        await filled(store)
        writer = connections.writer
        fails_at = writer.commits + 1 + (slice_number if name in SLICED else 0)

        def fail_in_time() -> None:
            if writer.commits == fails_at:
                failing("SQLITE_FULL")()
            writer.before_commit = fail_in_time

        writer.before_commit = fail_in_time
        with pytest.raises((StoreUnavailable, StoreIndeterminate, JournalError), match="SQLITE_FULL"):
            await STEPS[name](store)
        writer.before_commit = None
        await STEPS[name](store)
        assert await contents(store) == expected
