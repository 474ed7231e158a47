"""What every Store keeps of its folds: checkpoints are apart, row tombstones take what is not above them, no more."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.rows import A, B, C, gather, lane
from tests.contract.store_worlds import SimulatedStoreWorld, SqliteStoreWorld, StoreWorld
from vexil.crdt import cell as cells
from vexil.crdt.garbage import FoldRemoval
from vexil.node.seams import FoldEntry, Store


@pytest.fixture(params=["sqlite", "simulated"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreWorld]:
    made: StoreWorld = SqliteStoreWorld(tmp_path) if request.param == "sqlite" else SimulatedStoreWorld()
    yield made
    await made.close()


@pytest.fixture
async def store(world: StoreWorld) -> Store:
    return await world.connect()


def removal(entry: FoldEntry, timestamp: int) -> FoldRemoval:
    return FoldRemoval(*entry[:4], timestamp)


# Checkpoints


async def test_checkpoints_of_a_project_are_apart_from_each_other(world: StoreWorld) -> None:
    store = await world.connect()
    folds = {
        (project, checkpoint): [lane(f"flag/{checkpoint}", A, lane_seq=n + 1), lane("flag/x", B, lane_seq=7)]
        for n, (project, checkpoint) in enumerate([("p", 0), ("p", 1), ("p", 3 << 40), ("q", 1)])
    }
    for (project, checkpoint), entries in folds.items():
        await store.write_fold(project, entries, checkpoint=checkpoint)
    for reader in (store, await world.connect()):
        for (project, checkpoint), entries in folds.items():
            assert await gather(reader.read_fold(project, checkpoint=checkpoint)) == entries
        assert await gather(reader.read_fold("p")) == folds["p", 0]
        assert await gather(reader.read_fold("q")) == []
        assert await reader.fold_checkpoints() == {"p": [0, 1, 3 << 40], "q": [1]}


async def test_a_dropped_checkpoint_is_gone_and_the_others_are_not(store: Store) -> None:
    entries = [lane(f"flag/{n:05}", A, lane_seq=n + 1) for n in range(5_003)]
    for checkpoint in (0, 1, 2):
        await store.write_fold("p", entries, checkpoint=checkpoint)
    await store.write_fold("q", entries[:3], checkpoint=1)
    for _ in range(2):
        await store.drop_fold("p", 1)
        assert await gather(store.read_fold("p", checkpoint=1)) == []
        assert await gather(store.read_fold("p")) == entries
        assert await gather(store.read_fold("p", checkpoint=2)) == entries
        assert await gather(store.read_fold("q", checkpoint=1)) == entries[:3]
        assert await store.fold_checkpoints() == {"p": [0, 2], "q": [1]}
    await store.drop_fold("none", 4)
    assert await store.fold_checkpoints() == {"p": [0, 2], "q": [1]}


@pytest.mark.parametrize("count", [1_999, 2_000, 2_001, 4_000])
async def test_a_checkpoint_of_any_size_is_dropped_whole(store: Store, count: int) -> None:
    await store.write_fold("p", [lane(f"flag/{n}", A, lane_seq=1) for n in range(count)], checkpoint=5)
    await store.drop_fold("p", 5)
    assert await gather(store.read_fold("p", checkpoint=5)) == []


# Row tombstones


@pytest.mark.parametrize(("lane_seq", "seen_seq", "timestamp", "left"), [
    (5, 5, 5, None), (3, 5, 5, None), (5, 0, 5, None), (0, 5, 5, None), (5, 3, 9, None),  # all of it
    (9, 5, 5, (9, 0)), (9, 5, 8, (9, 0)),                                                 # a newer lane stays
    (3, 9, 5, (0, 9)),                                                                    # as a newer `seen` does
    (5, 5, 4, (5, 5)), (5, 0, 4, (5, 0)), (9, 7, 0, (9, 7)),                              # nothing
])  # fmt: skip
async def test_a_row_tombstone_takes_the_columns_that_are_not_above_it(
    world: StoreWorld, lane_seq: int, seen_seq: int, timestamp: int, left: tuple[int, int] | None
) -> None:
    store = await world.connect()
    target = lane("flag/a", B, lane_seq=lane_seq, seen_seq=seen_seq, generation=(A, 1))
    beside = [
        lane("flag/a", A, lane_seq=1, generation=(A, 1)),
        lane("flag/a", C, lane_seq=1, seen_seq=1, generation=(A, 1)),
        lane("flag/a", B, lane_seq=1, generation=(A, 2)),
        lane("flag/a", B, lane_seq=1, generation=(A, 1), field="ownerless"),
        lane("flag/b", B, lane_seq=1, generation=(A, 1)),
    ]
    for checkpoint in (0, 1):
        await store.write_fold("p", [target, *beside], checkpoint=checkpoint)
    await store.write_fold("q", [target])
    for _ in range(2):
        await store.collect_fold("p", [removal(target, timestamp)])
    found = {entry[:4]: entry for entry in await gather((await world.connect()).read_fold("p"))}
    kept = found.pop(target[:4], None)
    assert sorted(found.values()) == sorted(beside)
    assert (None if kept is None else (kept.lane_seq, kept.seen_seq)) == left
    if kept is not None:
        # The packed entry says the same as its columns, and what stays of it is unchanged.
        (read,) = cells.entries(cells.from_entries([kept.entry]))
        assert (read.lane_seq, read.seen_seq) == (kept.lane_seq, kept.seen_seq)
        whole = cells.unpacked(cells.from_entries([target.entry]))
        part = cells.unpacked(cells.from_entries([kept.entry]))
        assert part[1:4] == (whole[1:4] if kept.lane_seq else [0, 0, b""])
        assert part[4:] == (whole[4:] if kept.seen_seq else [0, 0, 0])
    assert sorted(await gather(store.read_fold("p", checkpoint=1))) == sorted([target, *beside])
    assert await gather(store.read_fold("q")) == [target]


async def test_row_tombstones_go_to_the_checkpoint_that_is_named_and_may_name_rows_that_are_not_there(
    store: Store,
) -> None:
    entry = lane("flag/a", A, lane_seq=3)
    for checkpoint in (0, 7):
        await store.write_fold("p", [entry], checkpoint=checkpoint)
    nowhere = [removal(lane("flag/none", A, lane_seq=1), 9), removal(lane("flag/a", C, lane_seq=1), 9)]
    await store.collect_fold("p", [*nowhere, removal(entry, 3)], checkpoint=7)
    await store.collect_fold("none", nowhere)
    await store.collect_fold("p", [])
    assert await gather(store.read_fold("p")) == [entry]
    assert await gather(store.read_fold("p", checkpoint=7)) == []


async def test_what_is_written_after_a_row_tombstone_with_a_higher_timestamp_lives(store: Store) -> None:
    old = lane("flag/a", A, lane_seq=5, seen_seq=5)
    await store.write_fold("p", [old])
    await store.collect_fold("p", [removal(old, 5)])
    new = lane("flag/a", A, lane_seq=6)
    await store.write_fold("p", [new])
    await store.collect_fold("p", [removal(old, 5)])
    assert await gather(store.read_fold("p")) == [new]


async def test_many_row_tombstones_leave_exactly_what_is_above_them(store: Store) -> None:
    rng = random.Random(8)
    entries = [
        lane(f"flag/{n:04}", rng.choice((A, B, C)), lane_seq=rng.randint(1, 9), seen_seq=rng.randint(0, 9))
        for n in range(4_500)
    ]
    await store.write_fold("p", entries)
    removals = [removal(entry, rng.randint(1, 9)) for entry in rng.sample(entries, 4_100)]
    await store.collect_fold("p", removals)
    limits = {tombstone[:4]: tombstone.timestamp for tombstone in removals}
    expected = {}
    for entry in entries:
        limit = limits.get(entry[:4], 0)
        columns = tuple(seq if seq > limit else 0 for seq in (entry.lane_seq, entry.seen_seq))
        if any(columns):
            expected[entry[:4]] = columns
    found = {entry[:4]: (entry.lane_seq, entry.seen_seq) for entry in await gather(store.read_fold("p"))}
    assert found == expected
