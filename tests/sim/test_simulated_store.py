"""The simulated store's manners: writes that time out, land late or in part, and what a successor then reads."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import trio
import trio.testing

from tests.contract.rows import A, B, C, causes_of_row, gather, lane, row, tangled_rows, vector_of
from vexil.chaos.world.process_life import ProcessDead
from vexil.chaos.world.simulated_store import SimulatedRegion, SimulatedStore, StoreFaults
from vexil.crdt.garbage import FoldRemoval
from vexil.node.seams import FoldEntry, MemberRow, SeamError, StoreIndeterminate, StoreUnavailable

PLENTY = 1 << 30
ROWS = [row(A, seq) for seq in range(1, 9)]
CALM = StoreFaults()


def region_with(faults: StoreFaults, seed: int = 0) -> SimulatedRegion:
    return SimulatedRegion(random.Random(seed), faults, causes=causes_of_row)


async def count_rows(region: SimulatedRegion) -> int:
    """How many of ROWS are there, gaps or not."""
    region.faults = CALM
    store = region.connect("reader")
    found = [
        await store.read_changes("p", after={A: seq - 1}, through={A: seq}, limit_bytes=1)
        for seq in range(1, 9)
    ]
    return sum(map(len, found))


async def note_error(store: SimulatedStore, answers: list[type[Exception]]) -> None:
    try:
        await store.write_changes(ROWS)
    except SeamError as error:
        answers.append(type(error))


@pytest.mark.parametrize(
    ("faults", "now", "at_last"),
    [
        (StoreFaults(timeout_applied=1), {8}, {8}),
        (StoreFaults(timeout_lost=1), {0}, {0}),
        (StoreFaults(timeout_late=1), {0}, {8}),
        (StoreFaults(timeout_partial=1), set(range(9)), set(range(9))),
    ],
)
async def test_a_write_that_times_out_has_one_of_these_fates(
    autojump_clock: trio.testing.MockClock, faults: StoreFaults, now: set[int], at_last: set[int]
) -> None:
    seen_now, seen_at_last = set(), set()
    for seed in range(60):
        region = region_with(faults, seed)
        started = trio.current_time()
        with pytest.raises(StoreIndeterminate):
            await region.connect("eu-1").write_changes(ROWS)
        assert trio.current_time() - started == pytest.approx(faults.timeout_ms / 1000)
        before = await count_rows(region)
        landed = region.land_ghosts()
        assert await count_rows(region) == before + landed
        seen_now.add(before)
        seen_at_last.add(before + landed)
    assert seen_now == now
    assert seen_at_last <= at_last


async def test_an_outage_is_definite_for_writes_and_reads() -> None:
    region = region_with(CALM)
    store = region.connect("eu-1")
    region.available = False
    with pytest.raises(StoreUnavailable):
        await store.write_changes(ROWS)
    with pytest.raises(StoreUnavailable):
        await store.read_changes("p", after={}, through={A: 8}, limit_bytes=1)
    with pytest.raises(StoreUnavailable):
        await store.read_member("eu-1")
    region.available = True
    assert await count_rows(region) == 0
    assert region.ghosts == 0


async def test_reads_may_fail_and_be_slow(autojump_clock: trio.testing.MockClock) -> None:
    region = region_with(StoreFaults(read_fails=0.5, slow=0.5, slow_ms_max=1_000))
    store = region.connect("eu-1")
    failed, waits = 0, []
    for _ in range(50):
        started = trio.current_time()
        try:
            await store.read_member("eu-1")
        except StoreUnavailable:
            failed += 1
        waits.append(trio.current_time() - started)
    assert 0 < failed < 50
    assert 0 < sum(wait > 0.1 for wait in waits) < 50
    assert max(waits) <= 1


async def test_a_late_member_row_of_a_dead_process_is_void_beside_its_successor_s(
    autojump_clock: trio.testing.MockClock,
) -> None:
    region = region_with(StoreFaults(timeout_late=1))
    first = region.connect("eu-1")
    with pytest.raises(StoreIndeterminate):
        await first.write_member(MemberRow("eu-1", start=1, revision=99, incarnation=A))
    first.kill()
    region.faults = CALM
    second = region.connect("eu-1")
    await second.write_member(MemberRow("eu-1", start=2, revision=1, incarnation=B))
    assert region.land_ghosts() == 1
    assert await second.read_member("eu-1") == MemberRow("eu-1", start=2, revision=1, incarnation=B)


async def test_late_fold_entries_do_not_undo_newer_ones(autojump_clock: trio.testing.MockClock) -> None:
    region = region_with(StoreFaults(timeout_late=1))
    store = region.connect("eu-1")
    old = [lane(f"flag/{n}", A, lane_seq=1) for n in range(9)]
    with pytest.raises(StoreIndeterminate):
        await store.write_fold("p", old)
    region.faults = CALM
    new = [lane(f"flag/{n}", A, lane_seq=2) for n in range(0, 9, 2)]
    await store.write_fold("p", new)
    assert region.land_ghosts() == 9
    assert await gather(store.read_fold("p")) == sorted(new + [old[n] for n in range(1, 9, 2)])


async def test_ghosts_land_in_any_order_and_a_few_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    orders = set()
    for seed in range(10):
        region = region_with(StoreFaults(timeout_late=1), seed)
        with pytest.raises(StoreIndeterminate):
            await region.connect("eu-1").write_changes(ROWS)
        order = []
        while region.ghosts:
            assert region.land_ghosts(2) == 2
            order.append(await count_rows(region))
            page = await region.connect("r").read_changes("p", after={}, through={A: 8}, limit_bytes=PLENTY)
            order.append(len(page))
        assert order[::2] == [2, 4, 6, 8]
        orders.add(tuple(order))
    assert len(orders) > 1


async def test_a_killed_process_hears_nothing_and_what_it_sent_is_lost_or_lands_late(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for lands in (0.0, 1.0):
        region = region_with(StoreFaults(latency_ms_max=1_000, abandoned_lands=lands))
        store = region.connect("eu-1")
        answers: list[type[Exception]] = []

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note_error, store, answers)
            await trio.testing.wait_all_tasks_blocked()
            store.kill()
        assert answers == [ProcessDead]
        with pytest.raises(ProcessDead):
            await store.write_changes(ROWS)
        with pytest.raises(ProcessDead):
            await store.read_member("eu-1")
        assert await count_rows(region) == 0
        region.land_ghosts()
        assert await count_rows(region) == 8 * lands


async def test_a_cancelled_write_may_land_late(autojump_clock: trio.testing.MockClock) -> None:
    region = region_with(StoreFaults(latency_ms_max=1_000, abandoned_lands=1))
    with trio.move_on_after(0.000_1) as scope:
        await region.connect("eu-1").write_changes(ROWS)
    assert scope.cancelled_caught
    assert await count_rows(region) == 0
    assert region.land_ghosts() == 8
    assert await count_rows(region) == 8


async def test_rows_are_shared_in_a_region_and_folds_and_refused_changes_are_a_slot_s_own() -> None:
    region = region_with(CALM)
    one, other = region.connect("eu-1"), region.connect("eu-2")
    await one.write_changes(ROWS)
    await one.write_fold("p", [lane("flag/a", A, lane_seq=1)])
    assert await other.read_changes("p", after={}, through={A: 8}, limit_bytes=PLENTY) == ROWS
    assert await gather(other.read_fold("p")) == []
    assert len(await gather(region.connect("eu-1").read_fold("p"))) == 1


@pytest.mark.parametrize("seed", range(15))
async def test_writing_until_it_is_done_ends_in_the_same_state_under_all_faults(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    rng = random.Random(seed)
    faults = StoreFaults(
        latency_ms_max=20, slow=0.2, timeout_applied=0.1, timeout_lost=0.1, timeout_partial=0.2, timeout_late=0.2,
        abandoned_lands=0.5,
    )  # fmt: skip
    region = region_with(faults, seed)
    rows = tangled_rows(rng, count=60)
    entries = [lane(f"flag/{n % 7}", A, lane_seq=n + 1, seen_seq=n // 2) for n in range(40)]

    async def insist(slot: str, start: int) -> None:
        store = region.connect(slot)
        revision = 0
        for n in range(start, 60, 2):
            done = False
            while not done:
                revision += 1
                try:
                    await store.write_changes(rows[max(0, n - 3) : n + 1])
                    await store.write_fold("p", entries[max(0, n - 5) : n + 1])
                    await store.write_member(MemberRow(slot, 1, revision, A, vv={"p": {A: n}}))
                    done = True
                except StoreIndeterminate:
                    region.land_ghosts(rng.randrange(4))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(insist, "eu-1", 0)
        nursery.start_soon(insist, "eu-2", 1)
    region.land_ghosts()
    region.faults = replace(CALM, latency_ms_max=5)
    reader = region.connect("eu-2")
    found = await reader.read_changes("p", after={}, through=vector_of(rows), limit_bytes=PLENTY)
    assert sorted(found) == sorted(rows)
    assert [entry.lane_seq for entry in await gather(reader.read_fold("p"))] == [36, 37, 38, 39, 40, 34, 35]
    member = await reader.read_member("eu-2")
    assert member is not None
    assert member.vv == {"p": {A: 59}}


# Collecting, dropping, trimming


def columns_of(entries: list[FoldEntry]) -> dict[str, tuple[int, int]]:
    return {entry.object: (entry.lane_seq, entry.seen_seq) for entry in entries}


@pytest.mark.parametrize("seed", range(40))
async def test_row_tombstones_and_cells_end_in_the_same_fold_in_whatever_order_they_land(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    rng = random.Random(seed)
    region = region_with(StoreFaults(timeout_late=1), seed)
    store = region.connect("eu-1")
    written: list[FoldEntry | FoldRemoval] = []
    expected: dict[str, tuple[int, int]] = {}
    for n in range(20):
        # A row as one writer writes it: the lane, its end, the collection of both or of the end only, a new lane.
        name, first, second = f"flag/{n:02}", rng.randint(1, 5), rng.randint(6, 9)
        cells = [
            lane(name, A, lane_seq=first),
            lane(name, A, lane_seq=first, seen_seq=first),
            lane(name, A, lane_seq=second, seen_seq=first),
        ][: rng.randint(2, 3)]
        tombstone = FoldRemoval(*cells[0][:4], first)
        written += [*cells, tombstone]
        if len(cells) == 3:
            expected[name] = (second, 0)
    rng.shuffle(written)
    for what in written:
        write = (
            store.collect_fold("p", [what])
            if isinstance(what, FoldRemoval)
            else store.write_fold("p", [what])
        )
        with pytest.raises(StoreIndeterminate):
            await write
        region.land_ghosts(rng.randrange(3))
    region.land_ghosts()
    region.faults = CALM
    assert columns_of(await gather(store.read_fold("p"))) == expected


async def test_a_late_cell_under_a_row_tombstone_stays_dead_and_a_newer_one_lives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    region = region_with(StoreFaults(timeout_late=1))
    store = region.connect("eu-1")
    cells = [
        lane("flag/dead", A, lane_seq=3, seen_seq=3), lane("flag/half", A, lane_seq=7, seen_seq=3),
        lane("flag/new", A, lane_seq=4),
    ]  # fmt: skip
    with pytest.raises(StoreIndeterminate):
        await store.write_fold("p", cells)
    region.faults = CALM
    await store.collect_fold("p", [FoldRemoval(*cell[:4], 3) for cell in cells])
    assert await gather(store.read_fold("p")) == []
    assert region.land_ghosts() == 3
    found = columns_of(await gather(store.read_fold("p")))
    assert found == {"flag/half": (7, 0), "flag/new": (4, 0)}


async def test_a_collection_that_times_out_in_part_is_made_whole_by_doing_it_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    entries = [lane(f"flag/{n}", A, lane_seq=2) for n in range(30)]
    left = set()
    for seed in range(20):
        region = region_with(CALM, seed)
        store = region.connect("eu-1")
        await store.write_fold("p", entries)
        region.faults = StoreFaults(timeout_partial=1)
        removals = [FoldRemoval(*entry[:4], 2) for entry in entries[:20]]
        with pytest.raises(StoreIndeterminate):
            await store.collect_fold("p", removals)
        region.faults = CALM
        left.add(len(await gather(store.read_fold("p"))))
        await store.collect_fold("p", removals)
        region.land_ghosts()
        assert await gather(store.read_fold("p")) == sorted(entries[20:])
    assert len(left) > 3


async def test_what_was_on_its_way_to_a_dropped_checkpoint_stays_dead(
    autojump_clock: trio.testing.MockClock,
) -> None:
    region = region_with(StoreFaults(timeout_late=1))
    store = region.connect("eu-1")
    with pytest.raises(StoreIndeterminate):
        await store.write_fold("p", [lane("flag/a", A, lane_seq=1 << 40)], checkpoint=4)
    region.faults = CALM
    await store.drop_fold("p", 4)
    await store.write_fold("p", [lane("flag/a", A, lane_seq=1)], checkpoint=5)
    assert region.land_ghosts() == 1
    assert await store.fold_checkpoints() == {"p": [5]}
    with pytest.raises(AssertionError, match="used again"):
        await store.write_fold("p", [lane("flag/a", A, lane_seq=1)], checkpoint=4)


async def test_a_late_row_under_a_trim_stays_dead_and_one_that_is_written_later_lives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    region = region_with(StoreFaults(timeout_late=1))
    store = region.connect("eu-1")
    with pytest.raises(StoreIndeterminate):
        await store.write_changes(ROWS)
    with pytest.raises(StoreIndeterminate):
        await store.write_past("p", [row(B, 2), row(B, 1)])
    region.faults = CALM
    await store.trim_changes("p", {A: 5, B: 1})
    region.land_ghosts()
    assert await store.log_start("p") == {A: 5, B: 1}
    await store.write_past("p", [row(A, 5)])
    assert await store.log_start("p") == {A: 4, B: 1}


async def test_a_past_with_holes_hides_no_row_of_the_history(autojump_clock: trio.testing.MockClock) -> None:
    rows = tangled_rows(random.Random(5), count=60)
    seen = set()
    for seed in range(20):
        region = region_with(CALM, seed)
        store = region.connect("eu-1")
        await store.write_changes(rows[40:])
        region.faults = StoreFaults(timeout_partial=1)
        with pytest.raises(StoreIndeterminate):
            await store.write_past("p", rows[39::-1])
        region.faults = CALM
        found = [entry.raw for entry in await store.read_history("p", before=None, limit=99)]
        assert len(found) == len(set(found))
        assert {record.raw for record in rows[40:]} <= set(found)
        seen.add(len(found))
        await store.write_past("p", rows[39::-1])
        region.land_ghosts()
        whole = await store.read_history("p", before=None, limit=99)
        assert sorted(entry.raw for entry in whole) == sorted(record.raw for record in rows)
    assert len(seen) > 3


async def test_a_trimmed_history_is_causal_whatever_the_order_of_writing() -> None:
    rng = random.Random(9)
    rows = tangled_rows(rng, count=120, incarnations=(A, B, C))
    region = region_with(CALM)
    store = region.connect("eu-1")
    await store.write_changes(rng.sample(rows, len(rows)))
    heads = vector_of(rows)
    await store.trim_changes("p", {A: heads[A], B: heads[B] // 2, C: heads[C] // 3})
    found = [entry.raw for entry in await store.read_history("p", before=None, limit=999)][::-1]
    left = [r for r in rows if r.seq > {A: heads[A], B: heads[B] // 2, C: heads[C] // 3}[r.incarnation]]
    assert sorted(found) == sorted(record.raw for record in left)
    place = {(record.incarnation, record.seq): found.index(record.raw) for record in left}
    for record in left:
        mine = place[record.incarnation, record.seq]
        assert all(place.get(cause, -1) < mine for cause in causes_of_row(record.raw))
