"""What every Store keeps: rows are immutable and read causes first; timestamps decide, never the order of writing."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.rows import (
    A,
    B,
    C,
    gather,
    lane,
    row,
    tangled_rows,
    vector_of,
)
from tests.contract.store_worlds import ASIDE_LIMIT, SimulatedStoreWorld, SqliteStoreWorld, StoreWorld
from vexil.node.seams import AsideRecord, MemberRow, Store

PLENTY = 1 << 30


@pytest.fixture(params=["sqlite", "simulated"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreWorld]:
    made: StoreWorld = SqliteStoreWorld(tmp_path) if request.param == "sqlite" else SimulatedStoreWorld()
    yield made
    await made.close()


@pytest.fixture
async def store(world: StoreWorld) -> Store:
    return await world.connect()


# Member rows


async def test_a_slot_that_never_wrote_has_no_member_row(store: Store) -> None:
    assert await store.read_member("eu-1") is None


async def test_a_member_row_comes_back_as_it_was_written(world: StoreWorld) -> None:
    row = MemberRow(
        "eu-1", start=3, revision=9, incarnation=C, checkpoint={"p": 1 << 40, "q": 0},
        registration="00ff" * 4,
        vv={"p": {A: 1, C: (1 << 62) - 1}, "q": {}}, fold={"p": bytes(range(256)), "q": b""},
        forked=(A, B, C), hlc=(1 << 64) - 1,
    )  # fmt: skip
    await (await world.connect()).write_member(row)
    await (await world.connect()).write_member(MemberRow("eu-2", 1, 1, B))
    assert await (await world.connect()).read_member("eu-1") == row


async def test_a_member_row_is_void_beside_one_with_a_higher_start_or_revision(store: Store) -> None:
    rows = [
        MemberRow("", start, revision, start * 10 + revision) for start, revision in ((1, 9), (2, 1), (2, 2))
    ]
    for number, order in enumerate(itertools.permutations(rows)):
        slot = f"slot-{number}"
        for member in order:
            await store.write_member(MemberRow(slot, member.start, member.revision, member.incarnation))
            await store.write_member(MemberRow(slot, member.start, member.revision, member.incarnation))
        assert await store.read_member(slot) == MemberRow(slot, 2, 2, 22)


# The log


async def test_writing_a_row_again_changes_nothing_and_other_bytes_are_kept_beside(world: StoreWorld) -> None:
    first, second = await world.connect(), await world.connect()
    rows = [row(A, 1), row(A, 2, body=b"one"), row(A, 3)]
    await first.write_changes(rows)
    await second.write_changes(rows)
    await first.write_changes([row(A, 2, body=b"other"), row(A, 2, body=b"one")])
    found = await second.read_changes("p", after={}, through={A: 3}, limit_bytes=PLENTY)
    assert found == [row(A, 1), row(A, 2, body=b"one"), row(A, 2, body=b"other"), row(A, 3)]


async def test_log_projects_are_those_that_have_a_row(store: Store) -> None:
    assert list(await store.log_projects()) == []
    await store.write_fold("only-a-fold", [lane("flag/a", A, lane_seq=1)])
    await store.write_changes([row(A, 1, project="b"), row(A, 1, project="a"), row(A, 2, project="b")])
    assert sorted(await store.log_projects()) == ["a", "b"]


async def test_history_is_newest_first_and_goes_on_behind_a_cursor(store: Store) -> None:
    rows = tangled_rows(random.Random(3), count=25)
    for record in rows:
        await store.write_changes([record, row(record.incarnation, record.seq, project="other")])
    whole = await store.read_history("p", before=None, limit=100)
    assert [entry.raw for entry in whole] == [record.raw for record in reversed(rows)]

    paged: list[bytes] = []
    cursor: str | None = None
    while page := await store.read_history("p", before=cursor, limit=4):
        assert len(page) <= 4
        assert len(paged) < len(whole)
        paged += [entry.raw for entry in page]
        cursor = page[-1].cursor
        # What is written meanwhile is newer than the cursor and disturbs no page.
        newest = vector_of(rows)[A] + 1
        later = row(A, newest, causes=[(i, s) for i, s in vector_of(rows).items() if i != A])
        rows = [*rows, later]
        await store.write_changes([later])
    assert paged == [entry.raw for entry in whole]
    assert list(await store.read_history("none", before=None, limit=4)) == []
    assert list(await store.read_history("p", before=None, limit=0)) == []


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1e9", "9" * 40, "ffff:zz", "٣"])
async def test_a_cursor_that_is_none_is_a_value_error(store: Store, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await store.read_history("p", before=cursor, limit=4)


# The fold


async def test_fold_entries_come_back_sorted_with_an_object_s_entries_adjacent(world: StoreWorld) -> None:
    names = ["flag/a", "flag/a\x00", "flag/aa", "flag/b", "flag/é", "flag/😀", "segment/z", "flag/\uffff"]
    entries = [
        lane(name, incarnation, lane_seq=seq + 1, field=field, generation=generation)
        for seq, (name, generation, field, incarnation) in enumerate(
            itertools.product(names, [(0, 0), (A, 2), (A, 10), (C, 1)], ["env/p/x", "owner", ""], [A, B, C])
        )
    ]
    rng = random.Random(5)
    store = await world.connect()
    shuffled = rng.sample(entries, len(entries))
    for start in range(0, len(shuffled), 50):
        await store.write_fold("p", shuffled[start : start + 50])
    await store.write_fold("q", [lane("flag/a", A, lane_seq=5)])
    expected = sorted(entries, key=lambda entry: entry[:4])
    assert await gather(store.read_fold("p")) == expected
    assert await gather((await world.connect()).read_fold("p")) == expected
    assert await gather(store.read_fold("none")) == []


async def test_a_large_fold_comes_in_batches_without_loss(store: Store) -> None:
    entries = [lane(f"flag/{n // 7:04}", A, lane_seq=n + 1, field=f"{n % 7}") for n in range(5_003)]
    await store.write_fold("p", entries)
    batches = [batch async for batch in store.read_fold("p")]
    assert len(batches) > 1
    assert [entry for batch in batches for entry in batch] == entries


async def test_an_older_fold_entry_never_replaces_a_newer_one(store: Store) -> None:
    # What one writer writes: both seqs only grow.
    written = [(1, 0), (1, 1), (4, 1), (4, 4), (6, 4), (6, 9)]
    for number, order in enumerate(itertools.permutations(written, 4)):
        cell = [
            lane(f"flag/{number}", A, lane_seq=lane_seq, seen_seq=seen_seq) for lane_seq, seen_seq in order
        ]
        for entry in (*cell, cell[0]):
            await store.write_fold("p", [entry])
    newest = {f"flag/{number}": max(order) for number, order in enumerate(itertools.permutations(written, 4))}
    found = {entry.object: (entry.lane_seq, entry.seen_seq) for entry in await gather(store.read_fold("p"))}
    assert found == newest


async def test_of_two_fold_entries_each_ahead_in_one_column_the_one_that_decides_liveness_stays(
    store: Store,
) -> None:
    pairs = [((7, 3), (5, 5)), ((5, 7), (7, 3)), ((3, 7), (5, 3)), ((0, 4), (3, 0)), ((5, 0), (0, 4))]
    for number, (one, other) in enumerate(pairs):
        for way, order in enumerate(((one, other), (other, one))):
            for lane_seq, seen_seq in order:
                await store.write_fold(
                    "p", [lane(f"{number}/{way}", A, lane_seq=lane_seq, seen_seq=seen_seq)]
                )
    found = {entry.object: entry for entry in await gather(store.read_fold("p"))}
    for number, (one, other) in enumerate(pairs):
        assert found[f"{number}/0"][4:] == found[f"{number}/1"][4:]
        joined_lane, joined_seen = max(one[0], other[0]), max(one[1], other[1])
        kept = found[f"{number}/0"]
        assert (kept.lane_seq > kept.seen_seq) == (joined_lane > joined_seen)
        if joined_lane > joined_seen:
            assert kept.lane_seq == joined_lane


async def test_a_cell_may_occur_twice_in_one_write(store: Store) -> None:
    newest = lane("flag/a", A, lane_seq=3)
    await store.write_fold("p", [lane("flag/a", A, lane_seq=2), newest, lane("flag/a", A, lane_seq=1)])
    assert await gather(store.read_fold("p")) == [newest]


# What was refused


async def test_what_was_put_aside_comes_back_oldest_first_and_once(world: StoreWorld) -> None:
    store = await world.connect()
    one = AsideRecord("p", "undecodable", "us-1", b"\xff\x00")
    two = AsideRecord("p", "floor", "ap-1", b"two")
    elsewhere = AsideRecord("q", "undecodable", "us-1", b"\xff\x00")
    for record in (one, two, one, elsewhere, AsideRecord("p", "undecodable", "us-2", b"\xff\x00")):
        await store.put_aside(record)
    assert list(await (await world.connect()).read_aside()) == [one, two, elsewhere]


async def test_beyond_the_limit_the_oldest_that_was_put_aside_goes(store: Store) -> None:
    records = [AsideRecord("p", "reason", "us-1", b"%d" % number) for number in range(ASIDE_LIMIT + 7)]
    for record in records:
        await store.put_aside(record)
    assert list(await store.read_aside()) == records[7:]


async def test_two_sessions_write_at_the_same_time_without_loss(world: StoreWorld) -> None:
    one, other = await world.connect(), await world.connect()
    for seq in range(1, 40):
        # Each makes rows of incarnations that the other has not heard of.
        await one.write_changes([row(seq, 1), row(A << 8, seq)])
        await other.write_changes([row(seq + 1_000, 1), row(seq, 1), row(A << 8, seq)])
        await other.write_fold("p", [lane("flag/a", A, lane_seq=seq)])
    through = {A << 8: 99} | dict.fromkeys(range(1, 2_000), 1)
    assert len(await one.read_changes("p", after={}, through=through, limit_bytes=PLENTY)) == 39 * 3
    assert [entry.lane_seq for entry in await gather(one.read_fold("p"))] == [39]
