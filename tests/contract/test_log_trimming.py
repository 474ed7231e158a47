"""What every log keeps when its beginning goes, and when rows come that are older than all that is there."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contract.journal_worlds import JournalWorld, SimulatedJournalWorld, SqliteJournalWorld
from tests.contract.rows import A, B, C, assert_readable, gather, row, tangled_rows, vector_of
from tests.contract.store_worlds import SimulatedStoreWorld, SqliteStoreWorld, StoreWorld
from vexil.node.seams import Journal, LogRecord, Store

PLENTY = 1 << 30


@pytest.fixture(params=["sqlite", "simulated"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreWorld]:
    made: StoreWorld = SqliteStoreWorld(tmp_path) if request.param == "sqlite" else SimulatedStoreWorld()
    yield made
    await made.close()


@pytest.fixture
async def store(world: StoreWorld) -> Store:
    return await world.connect()


@pytest.fixture(params=["sqlite", "simulated"])
async def disk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JournalWorld]:
    made: JournalWorld = (
        SqliteJournalWorld(tmp_path) if request.param == "sqlite" else SimulatedJournalWorld()
    )
    yield made
    await made.close()


class Log(NamedTuple):
    write: Callable[[Sequence[LogRecord]], Awaitable[None]]
    trim: Callable[[str, Mapping[int, int]], Awaitable[None]]
    reader: Journal | Store


@pytest.fixture(params=["sqlite store", "sqlite journal", "simulated store", "simulated journal"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    kind, part = request.param.split()
    if part == "journal":
        disk: JournalWorld = SqliteJournalWorld(tmp_path) if kind == "sqlite" else SimulatedJournalWorld()
        journal = await disk.start()
        yield Log(journal.append, journal.trim, journal)
        await disk.close()
        return
    world: StoreWorld = SqliteStoreWorld(tmp_path) if kind == "sqlite" else SimulatedStoreWorld()
    store = await world.connect()
    yield Log(store.write_changes, store.trim_changes, store)
    await world.close()


async def rows_of(store: Store, project: str = "p", *, page_rows: int = 7) -> list[bytes]:
    """Every row, oldest first, through pages of the history."""
    raws: list[bytes] = []
    cursor: str | None = None
    while page := await store.read_history(project, before=cursor, limit=page_rows):
        raws += [entry.raw for entry in page]
        cursor = page[-1].cursor
    return raws[::-1]


# Trimming


async def test_trimmed_rows_are_gone_and_what_is_behind_them_is_read_from_their_end(log: Log) -> None:
    rows = [row(i, seq) for seq in range(1, 9) for i in (A, B, C)]
    other = [row(A, seq, project="other") for seq in range(1, 9)]
    await log.write([*rows, *other])
    for _ in range(2):
        await log.trim("p", {A: 5, B: 8, 77: 3})
        through = {A: 8, B: 8, C: 8}
        page = await log.reader.read_changes("p", after={A: 5, B: 8}, through=through, limit_bytes=PLENTY)
        assert sorted(page) == sorted(r for r in rows if r.seq > {A: 5, B: 8}.get(r.incarnation, 0))
        # Whoever asks from further back gets nothing of that incarnation, rather than rows with a gap before them.
        page = await log.reader.read_changes("p", after={A: 4}, through=through, limit_bytes=PLENTY)
        assert {record.incarnation for record in page} == {C}
        page = await log.reader.read_changes("other", after={}, through=through, limit_bytes=PLENTY)
        assert page == other


async def test_a_log_says_where_it_starts_and_which_projects_have_a_row(store: Store) -> None:
    assert await store.log_start("p") == {}
    await store.write_changes([row(i, seq) for seq in range(1, 6) for i in (A, B)])
    await store.write_changes([row(C, seq, project="q") for seq in range(4, 6)])
    assert await store.log_start("p") == {A: 0, B: 0}
    assert await store.log_start("q") == {C: 3}
    await store.trim_changes("p", {A: 3})
    assert await store.log_start("p") == {A: 3, B: 0}
    await store.trim_changes("p", {A: 5, B: 1 << 63})
    assert await store.log_start("p") == {}
    assert await store.log_start("q") == {C: 3}
    assert list(await store.log_projects()) == ["q"]
    await store.write_changes([row(A, 6)])
    assert await store.log_start("p") == {A: 5}
    assert sorted(await store.log_projects()) == ["p", "q"]


async def test_a_trim_of_many_rows_and_incarnations_leaves_the_rest_in_causal_order(store: Store) -> None:
    rng = random.Random(4)
    rows = tangled_rows(rng, count=3_300, incarnations=range(1, 40))
    await store.write_changes(rows)
    through = {incarnation: seq * 2 // 3 for incarnation, seq in vector_of(rows).items()}
    await store.trim_changes("p", through)
    reached = dict(through)
    while page := await store.read_changes("p", after=reached, through=vector_of(rows), limit_bytes=9_000):
        assert_readable(page, reached)
        reached.update(vector_of(page))
    assert reached == vector_of(rows)
    left = [record.raw for record in rows if record.seq > through[record.incarnation]]
    assert await rows_of(store, page_rows=500) == left


async def test_both_rows_of_a_fork_go(store: Store) -> None:
    await store.write_changes([row(A, 1), row(A, 2, body=b"one"), row(A, 2, body=b"other"), row(A, 3)])
    await store.trim_changes("p", {A: 2})
    assert await rows_of(store) == [row(A, 3).raw]


async def test_a_trimmed_journal_replays_the_rest_in_order_and_goes_on_also_after_a_crash(
    disk: JournalWorld,
) -> None:
    journal = await disk.start()
    records = [row(i, seq, project=p) for seq in range(1, 9) for i in (A, B) for p in ("p", "q")]
    for start in range(0, len(records), 5):
        await journal.append(records[start : start + 5])
    await journal.trim("p", {A: 6, B: 3})
    await journal.trim("none", {A: 6})
    left = [r for r in records if r.project == "q" or r.seq > {A: 6, B: 3}[r.incarnation]]
    assert await gather(journal.replay(after={})) == left
    await journal.append([row(A, 9)])
    left.append(row(A, 9))
    await disk.crash()
    journal = await disk.start()
    assert await gather(journal.replay(after={})) == left
    await journal.trim("p", {A: 9, B: 9})
    await journal.trim("q", {A: 9, B: 9})
    await disk.crash()
    journal = await disk.start()
    assert await gather(journal.replay(after={})) == []
    await journal.append([row(B, 9)])
    assert await gather(journal.replay(after={})) == [row(B, 9)]


# The past


async def test_the_past_comes_behind_all_that_was_there_and_can_be_read_like_any_rows(
    world: StoreWorld,
) -> None:
    store = await world.connect()
    rows = tangled_rows(random.Random(6), count=90)
    past, present = rows[:60], rows[60:]
    await store.write_changes([row(C, 1, project="q")])
    await store.write_changes(present)
    known = [record.raw for record in present]
    # Newest first and in pages, as a peer's history gives them; a page that was not acknowledged comes again.
    backwards = past[::-1]
    for start in range(0, len(backwards), 15):
        page = backwards[start : start + 15]
        for _ in range(2):
            await store.write_past("p", page)
        known = [record.raw for record in page[::-1]] + known
        assert await rows_of(store) == known
        start_of_log = await store.log_start("p")
        left = [r for r in past[: len(past) - start - 15] if r.incarnation in start_of_log]
        assert start_of_log == dict.fromkeys(start_of_log, 0) | vector_of(left)
    reader = await world.connect()
    assert await rows_of(reader) == [record.raw for record in rows]
    reached: dict[int, int] = {}
    while page_ := await reader.read_changes("p", after=reached, through=vector_of(rows), limit_bytes=700):
        assert_readable(page_, reached)
        reached.update(vector_of(page_))
    assert reached == vector_of(rows)
    newest = row(A, vector_of(rows)[A] + 1, causes=[(i, s) for i, s in vector_of(rows).items() if i != A])
    await store.write_changes([newest])
    assert (await store.read_history("p", before=None, limit=1))[0].raw == newest.raw
    assert await rows_of(store, "q") == [row(C, 1, project="q").raw]


async def test_the_past_of_a_project_without_a_row_is_its_log(store: Store) -> None:
    await store.write_past("p", [row(A, 3), row(A, 2)])
    await store.write_past("p", [])
    assert await rows_of(store) == [row(A, 2).raw, row(A, 3).raw]
    await store.write_changes([row(A, 4)])
    await store.write_past("p", [row(A, 1)])
    assert await rows_of(store) == [row(A, seq).raw for seq in range(1, 5)]
    assert await store.log_start("p") == {A: 0}


async def test_a_row_that_is_there_is_not_moved_into_the_past(store: Store) -> None:
    await store.write_changes([row(A, 1), row(A, 2)])
    await store.write_past("p", [row(A, 2), row(A, 1)])
    assert await rows_of(store) == [row(A, 1).raw, row(A, 2).raw]


async def test_the_past_of_one_project_takes_no_record_of_another(store: Store) -> None:
    with pytest.raises(ValueError, match="another project"):
        await store.write_past("p", [row(A, 2), row(A, 1, project="q")])
    assert await rows_of(store) == []


async def test_the_past_can_be_trimmed_again(store: Store) -> None:
    await store.write_changes([row(A, seq) for seq in range(5, 8)])
    await store.write_past("p", [row(A, seq) for seq in range(4, 0, -1)])
    await store.trim_changes("p", {A: 3})
    assert await rows_of(store) == [row(A, seq).raw for seq in range(4, 8)]
    await store.trim_changes("p", {A: 7})
    await store.write_past("p", [row(A, 7)])
    await store.write_changes([row(A, 8)])
    assert await rows_of(store) == [row(A, 7).raw, row(A, 8).raw]


async def test_a_shared_log_says_where_its_newest_rows_without_a_gap_begin() -> None:
    """A slot that joins by a snapshot leaves a gap. What the others of its region had written before that stays."""
    world = SimulatedStoreWorld()
    store = await world.connect()
    await store.write_changes([row(A, seq) for seq in (1, 2, 6, 7)])
    assert await store.log_start("p") == {A: 5}
    await store.write_past("p", [row(A, seq) for seq in (5, 4, 3)])
    assert await store.log_start("p") == {A: 0}
    await world.close()
