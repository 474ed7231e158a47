"""The region's store is told in one order only, whatever it does meanwhile: rows, vector, cells, header."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
import trio

from tests.unit.node.engine.store_worlds import WatchedStore
from tests.unit.node.engine.world import (
    SHOP,
    Place,
    Stranger,
    creates,
    make_shop,
    push,
    running,
    sets,
    shop,
    state_of,
    write,
)
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.chaos.world.simulated_store import SimulatedRegion, StoreFaults
from vexil.crdt import cell as cells
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.engine import Engine
from vexil.node.region_writer import ROWS_KEPT_MAX, RegionWriter
from vexil.node.seams import LogRecord, MemberRow, StoreError
from vexil.node.startup import load


@dataclass
class Bench:
    """A writer with one project, and the journal that goes with it."""

    region: SimulatedRegion = field(default_factory=lambda: SimulatedRegion(Random(1)))
    disk: SimulatedDisk = field(default_factory=lambda: SimulatedDisk(Random(2)))
    failures: list[StoreError] = field(default_factory=list)
    hlc: int = 1

    def __post_init__(self) -> None:
        self.journal = SimulatedJournal(self.disk)
        self.replica = Replica()
        self.pen = Pen(self.replica, 7)
        self.store = WatchedStore(self.region, "eu-1")
        self.writer = RegionWriter(
            self.store,
            self.journal,
            MemberRow("eu-1", 1, 0, 7),
            {SHOP: self.replica},
            hlc=lambda: 5,
            rng=Random(3),
            on_failure=self.failures.append,
        )

    async def commit(self, count: int = 1, *, cells: int = 50) -> None:
        """Journal, apply and note that many small changes."""
        records = []
        for _ in range(count):
            self.hlc += 1
            writes = [CellWrite(f"flag/{self.hlc % cells}", (0, 0), "kill/prod", bool(self.hlc % 2))]
            change = self.pen.write(writes, hlc=self.hlc, author="")
            records.append(LogRecord(SHOP, 7, change.seq, change.raw))
            self.replica.apply(change)
            self.writer.note(SHOP, change)
        await self.journal.append(records)

    async def check_stored(self) -> None:
        """All of it is in the store, and a start from the store alone finds it."""
        row = await self.store.read_member("eu-1")
        assert row is not None
        assert row.vv[SHOP] == self.replica.vv == self.writer.stored[SHOP]
        loaded = await load(self.store, SimulatedJournal(SimulatedDisk(Random(0))), "eu-1")
        assert loaded.replicas[SHOP].root == self.replica.root
        assert list(loaded.replicas[SHOP].canonical()) == list(self.replica.canonical())
        fold = Replica()
        fold.load_header(row.fold[SHOP])
        assert fold.vv == self.replica.vv
        assert self.writer.backlog == 0


async def test_rounds_that_are_asked_for_together_do_not_overlap(autojump_clock: object) -> None:
    bench = Bench(region=SimulatedRegion(Random(1), StoreFaults(latency_ms_max=50)))
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            await bench.commit(3)
            nursery.start_soon(bench.writer.flush)
            await trio.sleep(0.01)
    await bench.check_stored()
    assert bench.store.rows_checked >= bench.store.folds_checked > 3


@pytest.mark.parametrize("after_ms", range(0, 120, 7))
async def test_a_round_that_was_cut_off_is_made_up_for_by_the_next(
    autojump_clock: object, after_ms: int
) -> None:
    """A drain at the end of a process is bounded; whoever writes a round after it writes all of it."""
    faults = StoreFaults(latency_ms_max=50, abandoned_lands=1.0)
    bench = Bench(region=SimulatedRegion(Random(after_ms), faults))
    await bench.commit(5)
    await bench.writer.flush()
    await bench.commit(5)
    with trio.move_on_after(after_ms / 1000):
        await bench.writer.flush()
    bench.region.land_ghosts()
    await bench.commit(5)
    await bench.writer.flush()
    await bench.check_stored()


async def test_a_store_that_goes_away_in_the_middle_is_written_to_when_it_is_back(
    autojump_clock: object,
) -> None:
    bench = Bench(region=SimulatedRegion(Random(1), StoreFaults(latency_ms_max=20)))

    async def flap() -> None:
        while True:
            await trio.sleep(0.033)
            bench.region.available = not bench.region.available

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.writer.run)
        nursery.start_soon(flap)
        for _ in range(100):
            await bench.commit(2)
            bench.writer.hurry()
            await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    bench.region.available = True
    await bench.writer.flush()
    await bench.commit()
    await bench.writer.flush()
    assert bench.failures
    assert bench.writer.available
    await bench.check_stored()


async def test_an_outage_is_known_while_it_lasts_and_who_waits_is_woken_after_it(
    autojump_clock: object,
) -> None:
    bench = Bench()
    bench.region.available = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.writer.run)
        await bench.commit(3)
        bench.writer.hurry()
        await trio.sleep(10)
        assert not bench.writer.available
        assert bench.writer.backlog == 3
        assert 2 < len(bench.failures) < 30, "tried again and again, not all the time"

        async def back() -> None:
            await trio.sleep(20)
            bench.region.available = True

        nursery.start_soon(back)
        assert await bench.writer.advanced.until(lambda: bench.writer.backlog == 0, timeout_ms=60_000)
        assert bench.writer.available
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    await bench.check_stored()


async def test_cells_gather_for_a_while_unless_somebody_waits(autojump_clock: object) -> None:
    bench = Bench()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.writer.run)
        await bench.commit()
        await trio.sleep(0.3)
        assert bench.writer.backlog == 1
        await trio.sleep(0.3)
        assert bench.writer.backlog == 0
        await bench.commit()
        bench.writer.hurry()
        await trio.sleep(0.01)
        assert bench.writer.backlog == 0
        nursery.cancel_scope.cancel()


async def test_more_rows_than_memory_keeps_are_read_from_the_journal(autojump_clock: object) -> None:
    bench = Bench()
    await bench.commit(10)
    await bench.writer.flush()
    bench.region.available = False
    async with trio.open_nursery() as nursery:
        await bench.commit(1)
        nursery.start_soon(bench.writer.flush)  # holds this round until the store is back
        await trio.sleep(1)
        await bench.commit(ROWS_KEPT_MAX + 50)
        bench.region.available = True
    await bench.commit(5)
    await bench.writer.flush()
    await bench.check_stored()
    assert len(bench.region.log.whole(SHOP)) == 10 + 1 + ROWS_KEPT_MAX + 50 + 5


async def test_no_vector_is_written_over_rows_that_nobody_has(autojump_clock: object) -> None:
    bench = Bench()
    await bench.commit(5)
    await bench.writer.flush()
    bench.journal = SimulatedJournal(
        SimulatedDisk(Random(9))
    )  # the rows go to another disk than the writer's
    await bench.commit(ROWS_KEPT_MAX + 1)
    with trio.move_on_after(60) as scope:
        await bench.writer.flush()
    assert scope.cancelled_caught
    row = await bench.store.read_member("eu-1")
    assert row is not None
    assert row.vv[SHOP] == {7: 5}
    assert "does not hold all rows" in str(bench.failures[-1])


FAULTS = [
    StoreFaults(
        latency_ms_max=200, timeout_partial=0.3, timeout_late=0.1, timeout_ms=50, abandoned_lands=0.5
    ),
    StoreFaults(latency_ms_max=20, timeout_applied=0.2, timeout_lost=0.2, timeout_late=0.2, timeout_ms=10),
    StoreFaults(latency_ms_max=5, slow=0.3, slow_ms_max=3_000, abandoned_lands=1.0),
]


@pytest.mark.parametrize("seed", range(12))
async def test_a_store_with_all_the_manners_of_cassandra_is_never_told_out_of_order(
    autojump_clock: object, seed: int
) -> None:
    """`WatchedStore` looks at every member row that is written; in the end the store alone has the whole state."""
    rng = Random(seed)
    region = SimulatedRegion(Random(seed))
    place = Place(region=region)
    for _ in range(3):
        region.faults = StoreFaults()
        async with running(place.engine(store=WatchedStore(region, "eu-1"))) as engine:
            await make_shop(engine)
            region.faults = FAULTS[seed % len(FAULTS)]
            await _work(engine, rng)
        region.land_ghosts(len(region._ghosts) // 2)
        place.disk.crash()
    region.faults = StoreFaults()
    async with running(place.engine(store=WatchedStore(region, "eu-1"))) as engine:
        await engine.drain()
        region.land_ghosts()
        last = state_of(engine)
    place.disk.wipe()
    async with running(place.engine()) as engine:
        assert state_of(engine)[SHOP] == last[SHOP]


async def _work(engine: Engine, rng: Random) -> None:
    stranger = await Stranger(rng.getrandbits(60)).follow(engine)
    for _ in range(25):
        key = f"f{rng.randrange(6)}"
        if shop(engine).flag(key) is None:
            await write(engine, creates(key), durability="node")
        elif rng.random() < 0.3:
            await stranger.follow(engine)
            await push(engine, [stranger.create(f"s{rng.randrange(6)}")])
        else:
            await write(engine, sets(key, "description", str(rng.random())), durability="node")
        await trio.sleep(rng.random() * 0.3)


async def test_a_tombstone_that_its_replacer_had_collected_is_stored_as_replaced(
    autojump_clock: object,
) -> None:
    """The change names no lane: its author had let go of it. A start from the store must not show it again."""
    bench = Bench()
    elsewhere, address = Replica(), ("project/settings", (0, 0), "environment/prod")
    for hlc, value in enumerate((True, TOMBSTONE), 1):
        change = Pen(elsewhere, 9).write([CellWrite(*address, value)], hlc=hlc, author="x")
        for replica in (elsewhere, bench.replica):
            replica.apply(change)
        await bench.journal.append([LogRecord(SHOP, 9, change.seq, change.raw)])
        bench.writer.note(SHOP, change)
    await bench.writer.flush()
    elsewhere.advance_floor(dict(elsewhere.vv))
    assert elsewhere.collect(address[0], dict(elsewhere.vv))
    again = Pen(elsewhere, 1).write([CellWrite(*address, True)], hlc=3, author="a")
    assert again.operations[0].seen == ()
    bench.replica.apply(again)
    await bench.journal.append([LogRecord(SHOP, 1, 1, again.raw)])
    bench.writer.note(SHOP, again)
    await bench.writer.flush()
    loaded = (await load(bench.store, bench.journal, "eu-1")).replicas[SHOP]
    assert [lane.incarnation for lane in cells.live(loaded.cell(*address))] == [1]
    assert loaded.cell(*address) == bench.replica.cell(*address)
