"""A slot's fold is one of several checkpoints: what writes go where, when it is switched, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
import trio

from tests.contract.rows import gather
from tests.unit.node.engine.store_worlds import StoppingStore
from tests.unit.node.engine.test_region_writer import Bench
from tests.unit.node.engine.world import SHOP, Place, running
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.chaos.world.simulated_store import SimulatedRegion, SimulatedStore, StoreFaults
from vexil.crdt import cell as cells
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.garbage import FoldRemoval
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT
from vexil.node.region_writer import CHECKPOINTS_OF_A_START, RegionWriter
from vexil.node.seams import FoldEntry, LogRecord, MemberRow, Store
from vexil.node.startup import drop_stale, load, owed

ELSEWHERE = 9
"""An incarnation of another node."""


def fold_of(replica: Replica) -> list[FoldEntry]:
    """Every row of the replica's fold."""
    return [
        FoldEntry(name, generation, field, e.incarnation, e.packed, e.lane_seq, e.seen_seq)
        for name, generations in replica.objects.items()
        for generation, fields in generations.items()
        for field, packed in fields.items()
        for e in cells.entries(packed)
    ]


async def stage(store: Store, replica: Replica, checkpoint: int) -> None:
    await store.write_fold(SHOP, fold_of(replica), checkpoint=checkpoint)


async def loaded_from(store: Store) -> Replica:
    loaded = await load(store, SimulatedJournal(SimulatedDisk(Random(0))), "eu-1")
    return loaded.replicas[SHOP]


def successor(bench: Bench, row: MemberRow) -> RegionWriter:
    """The writer of the slot's next start, over the same replicas."""
    fresh = MemberRow(row.slot, row.start + 1, 0, 8, checkpoint=row.checkpoint, vv=row.vv, fold=row.fold)
    return RegionWriter(
        SimulatedStore(bench.region, "eu-1"), bench.journal, fresh, {SHOP: bench.replica}, rng=Random(3),
        hlc=lambda: 0, on_failure=bench.failures.append,
    )  # fmt: skip


def same(one: Replica, other: Replica) -> bool:
    return one.vv == other.vv and one.root == other.root and list(one.canonical()) == list(other.canonical())


async def row_of(bench: Bench) -> MemberRow:
    row = await bench.store.read_member("eu-1")
    assert row is not None
    return row


async def overwrite(bench: Bench) -> None:
    """Somebody else writes every cell: the lanes that are in it die."""
    pen = Pen(bench.replica, ELSEWHERE)
    for name in sorted(bench.replica.objects):
        bench.hlc += 1
        write = CellWrite(name, NO_GENERATION, "kill/prod", True)
        change = pen.write([write], hlc=bench.hlc, author="")
        bench.replica.apply(change)
        bench.writer.note(SHOP, change)
        await bench.journal.append([LogRecord(SHOP, ELSEWHERE, change.seq, change.raw)])


async def collect(bench: Bench) -> None:
    """Everything is stable: collect what is garbage."""
    stable = dict(bench.replica.vv)
    bench.replica.advance_floor(stable)
    await bench.writer.store_header(SHOP)
    removals = [
        removal for name in sorted(bench.replica.objects) for removal in bench.replica.collect(name, stable)
    ]
    assert removals
    bench.writer.note_removed(SHOP, removals)


# The header and what was collected


async def test_a_header_is_stored_with_its_floor_and_behind_the_cells_that_were_dirty(
    autojump_clock: object,
) -> None:
    bench = Bench(region=SimulatedRegion(Random(1), StoreFaults(latency_ms_max=20)))
    await bench.commit(5)
    await bench.writer.flush()
    await bench.commit(3)
    bench.replica.advance_floor({7: 4})
    await bench.writer.store_header(SHOP)
    await bench.check_stored()
    found = await loaded_from(bench.store)
    assert found.floor == {7: 4}
    bench.replica.advance_floor({7: 6})
    await bench.writer.store_header(SHOP)
    assert (await loaded_from(bench.store)).floor == {7: 6}, "also with nothing else to write"


async def test_what_was_collected_goes_from_the_fold_and_nothing_else_does(autojump_clock: object) -> None:
    bench = Bench()
    await bench.commit(8, cells=8)
    await overwrite(bench)
    await bench.writer.flush()
    assert len(await gather(bench.store.read_fold(SHOP))) == 16
    await collect(bench)
    await bench.writer.flush()
    left = await gather(bench.store.read_fold(SHOP))
    assert left == sorted(fold_of(bench.replica))
    assert len(left) == 8
    assert same(await loaded_from(bench.store), bench.replica)


class Order(SimulatedStore):
    """Notes what is written, in order."""

    told: list[str]

    async def write_fold(self, project: str, entries: Iterable[FoldEntry], *, checkpoint: int = 0) -> None:
        self.told.append(f"cells of {checkpoint}")
        await super().write_fold(project, list(entries), checkpoint=checkpoint)

    async def collect_fold(
        self, project: str, removals: Iterable[FoldRemoval], *, checkpoint: int = 0
    ) -> None:
        self.told.append(f"removals of {checkpoint}")
        await super().collect_fold(project, list(removals), checkpoint=checkpoint)

    async def write_member(self, row: MemberRow) -> None:
        stored = Replica()
        if SHOP in row.fold:
            stored.load_header(row.fold[SHOP])
        self.told.append(f"header at {stored.vv.get(7, 0)}")
        await super().write_member(row)


async def test_removals_come_behind_the_header_and_cells_of_the_same_round(autojump_clock: object) -> None:
    bench = Bench()
    store = Order(bench.region, "eu-1")
    store.told = []
    writer = RegionWriter(
        store, bench.journal, MemberRow("eu-1", 1, 0, 7, checkpoint={SHOP: 3}), {SHOP: bench.replica},
        rng=Random(3), hlc=lambda: 0, on_failure=bench.failures.append,
    )  # fmt: skip
    bench.writer = writer
    await bench.commit(2)
    writer.note_removed(SHOP, [FoldRemoval("flag/none", NO_GENERATION, "kill/prod", 7, 1)])
    await writer.flush()
    assert store.told == ["header at 0", "cells of 3", "header at 2", "removals of 3"]


@pytest.mark.parametrize("after_ms", range(0, 200, 9))
async def test_removals_that_were_cut_off_are_made_up_for_by_the_next_round(
    autojump_clock: object, after_ms: int
) -> None:
    bench = Bench(region=SimulatedRegion(Random(after_ms)))
    await bench.commit(8, cells=8)
    await overwrite(bench)
    await bench.writer.flush()
    bench.region.faults = StoreFaults(latency_ms_max=50, abandoned_lands=0.5)
    await collect(bench)
    await bench.commit(2, cells=8)
    with trio.move_on_after(after_ms / 1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.writer.flush)
            await trio.sleep(0.001)
            await bench.commit(1, cells=8)  # what was cut off is then joined with this
    await bench.commit(3, cells=8)
    await overwrite(bench)
    await collect(bench)
    await bench.writer.flush()
    bench.region.land_ghosts()
    assert await gather(bench.store.read_fold(SHOP)) == sorted(fold_of(bench.replica))
    await bench.check_stored()


# Switching


async def test_after_a_switch_the_staged_checkpoint_is_the_fold_and_is_written_to(
    autojump_clock: object,
) -> None:
    bench = Bench()
    await bench.commit(10)
    number = bench.writer.new_checkpoint(SHOP)
    async with bench.writer.exclusive():
        old = await gather(bench.store.read_fold(SHOP))
        assert len(old) == 10, "what was dirty is written before"
        await stage(bench.store, bench.replica, number)
        await bench.writer.switch(SHOP, number, bench.replica.header(), bench.replica.vv)
    assert bench.writer.checkpoint(SHOP) == number
    assert bench.writer.fold_stored[SHOP] == bench.writer.stored[SHOP] == bench.replica.vv
    await bench.store.drop_fold(SHOP, 0)
    await bench.check_stored()
    await bench.commit(10)
    await bench.writer.flush()
    await bench.check_stored()
    assert await bench.store.fold_checkpoints() == {SHOP: [number]}


async def test_a_switch_says_at_once_what_the_store_has_by_it(autojump_clock: object) -> None:
    bench = Bench()
    store = SimulatedStore(bench.region, "eu-1")  # the merged rows are in no log: nobody may look for them
    await bench.commit(2)
    bench.writer = successor(bench, MemberRow("eu-1", 1, 0, 7))
    async with bench.writer.exclusive():
        merged = Pen(bench.replica, ELSEWHERE)
        bench.replica.apply(
            merged.write([CellWrite("flag/x", NO_GENERATION, "kill/prod", True)], hlc=9, author="")
        )
        number = bench.writer.new_checkpoint(SHOP)
        await stage(store, bench.replica, number)
        await bench.writer.switch(SHOP, number, bench.replica.header(), bench.replica.vv)
        assert bench.writer.stored[SHOP] == bench.writer.fold_stored[SHOP] == {7: 2, ELSEWHERE: 1}
        assert bench.writer.backlog == 0
    assert same(await loaded_from(store), bench.replica)


async def test_no_round_is_written_while_the_writer_is_held(autojump_clock: object) -> None:
    bench = Bench()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.writer.run)
        async with bench.writer.exclusive():
            row = await row_of(bench) if await bench.store.read_member("eu-1") else None
            await bench.commit(3)
            bench.writer.hurry()
            await trio.sleep(30)
            assert await bench.store.read_member("eu-1") == row
            with pytest.raises(RuntimeError):
                await bench.writer.flush()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    await bench.check_stored()


@pytest.mark.parametrize("seed", range(40))
async def test_a_switch_that_is_cut_off_is_survived_by_this_process_and_by_the_next(
    autojump_clock: object, seed: int
) -> None:
    rng = Random(seed)
    faults = StoreFaults(latency_ms_max=40, abandoned_lands=0.7, timeout_late=0.3, timeout_ms=60)
    bench = Bench(region=SimulatedRegion(Random(seed)))
    await bench.commit(10)
    await bench.writer.flush()
    number = bench.writer.new_checkpoint(SHOP)
    await stage(bench.store, bench.replica, number)
    bench.region.faults = faults
    with trio.move_on_after(rng.random() / 10):
        async with bench.writer.exclusive():
            await bench.writer.switch(SHOP, number, bench.replica.header(), bench.replica.vv)
    switched = bench.writer.checkpoint(SHOP) == number
    if seed % 2:
        # The process dies; what it sent lands before or after its successor has written its row.
        bench.region.land_ghosts(rng.randrange(3))
        bench.region.faults = StoreFaults()
        assert same(await loaded_from(bench.store), bench.replica)
        loaded = await load(bench.store, bench.journal, "eu-1")
        assert loaded.row is not None
        bench.store = type(bench.store)(bench.region, "eu-1")
        bench.writer = successor(bench, loaded.row)
        await bench.writer.announce(8)
        await drop_stale(bench.store, bench.writer.row)
    else:
        bench.region.faults = StoreFaults()
        await bench.writer.flush()
        if not switched:
            await bench.store.drop_fold(SHOP, number)
    bench.region.land_ghosts()
    assert same(await loaded_from(bench.store), bench.replica)
    await bench.commit(3)
    await bench.writer.flush()
    await bench.check_stored()


@pytest.mark.parametrize("landed", [False, True])
async def test_a_crash_between_any_two_store_calls_of_a_switch_leaves_a_whole_fold(
    autojump_clock: object, landed: bool
) -> None:
    async def life(bench: Bench, store: StoppingStore) -> None:
        writer = RegionWriter(
            store, bench.journal, await row_of(bench), {SHOP: bench.replica}, rng=Random(3), hlc=lambda: 0,
            on_failure=bench.failures.append,
        )  # fmt: skip
        number = writer.new_checkpoint(SHOP)
        await stage(store, bench.replica, number)
        async with writer.exclusive():
            await writer.switch(SHOP, number, bench.replica.header(), bench.replica.vv)
        await store.drop_fold(SHOP, 0)

    whole = 0
    for calls in range(1, 20):
        bench = Bench()
        await bench.commit(10)
        await bench.writer.flush()
        store = StoppingStore(SimulatedStore(bench.region, "eu-1"), calls=calls, landed=landed)
        async with trio.open_nursery() as nursery:

            async def until_stopped(
                store: StoppingStore = store, scope: trio.CancelScope = nursery.cancel_scope
            ) -> None:
                await store.stopped.wait()
                scope.cancel()

            nursery.start_soon(until_stopped)
            await life(bench, store)
            nursery.cancel_scope.cancel()
        bench.replica = await check_next_start(bench)
        if not store.stopped.is_set():
            whole = calls
            break
    assert whole == 4


async def check_next_start(bench: Bench) -> Replica:
    loaded = await load(bench.store, bench.journal, "eu-1")
    assert loaded.row is not None
    found = loaded.replicas[SHOP]
    assert same(found, bench.replica)
    writer = successor(bench, loaded.row)
    await writer.announce(8)
    await drop_stale(bench.store, writer.row)
    assert await bench.store.fold_checkpoints() == {SHOP: [writer.checkpoint(SHOP)]}
    assert same(await loaded_from(bench.store), bench.replica)
    return found


# Numbers, and what nobody reads any more


async def test_a_number_for_a_checkpoint_is_never_given_twice(autojump_clock: object) -> None:
    bench = Bench()
    given = [bench.writer.new_checkpoint(SHOP) for _ in range(3)]
    other = bench.writer.new_checkpoint("other")
    row = MemberRow("eu-1", 1, 0, 7)
    for _ in range(3):
        writer = successor(bench, row)
        given += [writer.new_checkpoint(SHOP) for _ in range(2)]
        row = writer.row
    assert sorted(set(given)) == given
    assert other >= CHECKPOINTS_OF_A_START
    beyond = MemberRow("eu-1", 1, 0, 7, checkpoint={SHOP: 10 * CHECKPOINTS_OF_A_START})
    assert successor(bench, beyond).new_checkpoint(SHOP) > 10 * CHECKPOINTS_OF_A_START


async def test_what_earlier_starts_left_is_dropped_and_what_this_one_stages_is_not(
    autojump_clock: object,
) -> None:
    bench = Bench()
    await bench.commit(3)
    start = 4
    kept = 2 * CHECKPOINTS_OF_A_START + 1
    staged = start * CHECKPOINTS_OF_A_START
    for number in (0, 1, kept, kept + 1, 3 * CHECKPOINTS_OF_A_START, staged):
        await stage(bench.store, bench.replica, number)
    await bench.store.write_fold("young", fold_of(bench.replica))
    await bench.store.write_fold("joining", fold_of(bench.replica), checkpoint=kept)
    await drop_stale(bench.store, MemberRow("eu-1", start, 1, 8, checkpoint={SHOP: kept}))
    assert await bench.store.fold_checkpoints() == {SHOP: [kept, staged], "young": [0]}


async def test_a_node_drops_what_earlier_starts_left(autojump_clock: object) -> None:
    place = Place()
    store = place.region.connect("eu-1")
    bench = Bench()
    await bench.commit(3)
    await store.write_fold("left", fold_of(bench.replica), checkpoint=5)
    async with running(place.engine()):
        await trio.sleep(300)
        assert "left" not in await store.fold_checkpoints()


# The row


async def test_a_registration_is_in_the_row_and_stays_in_it(autojump_clock: object) -> None:
    bench = Bench()
    await bench.writer.register("00ff00ff00ff00ff")
    await bench.commit(2)
    await bench.writer.flush()
    assert (await row_of(bench)).registration == "00ff00ff00ff00ff"
    await bench.check_stored()


async def test_a_writer_knows_from_its_start_which_fold_the_store_has(autojump_clock: object) -> None:
    bench = Bench()
    await bench.commit(4)
    await bench.writer.flush()
    before = dict(bench.replica.vv)
    await bench.commit(4)
    assert successor(bench, await row_of(bench)).fold_stored == {SHOP: before}


async def test_a_retired_incarnation_is_neither_read_back_nor_owed(autojump_clock: object) -> None:
    bench = Bench()
    await bench.commit(3)
    row = MemberRow("eu-1", 1, 9, 7, vv={SHOP: {7: 3, ELSEWHERE: 5}})
    loaded = await load(bench.store, bench.journal, "eu-1")
    loaded.row = row
    assert owed(loaded) == {SHOP: {7: 3, ELSEWHERE: 5}}
    retired = Bench()
    await retired.commit(3)
    name = f"{7:016x}"
    other = Pen(retired.replica, ELSEWHERE)
    change = other.write([CellWrite(RETIRED_OBJECT, NO_GENERATION, name, 3)], hlc=99, author="")
    retired.replica.apply(change)
    retired.writer.note(SHOP, change)
    assert retired.replica.retired == {7: 3}
    await retired.writer.flush()
    await retired.store.write_member(
        MemberRow(
            "eu-1", 1, 1 << 20, 7, vv={SHOP: {7: 3, ELSEWHERE: 1}},
            fold={SHOP: retired.replica.header()},
        )
    )  # fmt: skip
    again = await load(retired.store, retired.journal, "eu-1")
    assert same(again.replicas[SHOP], retired.replica)
    assert again.replicas[SHOP].retired == {7: 3}
    assert again.unfolded == {}
    assert again.aside == []
    assert owed(again) == {}
