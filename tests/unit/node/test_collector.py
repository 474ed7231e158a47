"""Rounds of collecting: the floor goes first, slices let others in, and nothing is looked at for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from random import Random

import pytest
import trio
from trio.testing import MockClock

from vexil.crdt.change import Change
from vexil.crdt.garbage import FoldRemoval
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.announcements import Announcement, Place, Version
from vexil.node.collector import BLOCKED_AFTER_S, SLICE_CELLS, Collector
from vexil.node.project import Project
from vexil.node.stability import Blocked, Stable, Waiting
from vexil.node.telemetry import Silence

AP = Place("ap-1", "00")
US = Place("us-1", "00")


class Counting(Silence):
    def __init__(self) -> None:
        self.collected = 0
        self.rounds = 0

    def count_collected(self, project: str, rows: int) -> None:
        self.collected += rows

    def observe_garbage_round(self, project: str, seconds: float) -> None:
        self.rounds += 1


class World:
    """One project of two writers, a collector over it, and a ground that says what the test says."""

    def __init__(self, flags: int = 3) -> None:
        self.replica = Replica()
        self.project = Project("shop", self.replica, on_defect=lambda *facts: None)
        self.ada, self.ben = Pen(self.replica, 0xA), Pen(self.replica, 0xB)
        self.removals: list[FoldRemoval] = []
        self.floors: list[Mapping[int, int]] = []
        self.behind: tuple[Waiting, ...] = ()
        self.blocked = False
        self.may_collect = True
        self.asked = 0
        self.counting = Counting()
        self.collector = Collector(self, {"shop": self.project}, self.counting, Random(1), interval_ms=10_000)
        self._hlc = 1
        for i in range(flags):
            self.write(
                self.ada, *[CellWrite(f"flag/{i}", NEW_GENERATION, f, "x") for f in ("exists", "description")]
            )

    def write(self, pen: Pen, *writes: CellWrite) -> Change:
        self._hlc += 1
        pen.rewind()
        change = pen.write(writes, hlc=self._hlc, author="x")
        self.replica.apply(change)
        self.collector.note("shop", change)
        return change

    def edit(self, i: int, value: object = "y") -> None:
        (generation,) = self.replica.cells(f"flag/{i}")
        self.write(self.ben, CellWrite(f"flag/{i}", generation, "description", value))

    def delete(self, i: int) -> None:
        (generation,) = self.replica.cells(f"flag/{i}")
        self.write(self.ben, CellWrite(f"flag/{i}", generation, "exists", TOMBSTONE))

    async def round(self) -> None:
        await self.collector.collect(self.project)

    # -- Ground

    def stability(self, project: Project) -> Stable | Blocked:
        self.asked += 1
        if self.blocked:
            return Blocked(self.behind)
        return Stable(dict(self.replica.vv), (), self.behind)

    async def store_floor(self, project: Project) -> None:
        assert self.replica.floor == self.replica.vv
        self.floors.append(dict(self.replica.floor))
        self.collected_before_floor = self.counting.collected
        await trio.lowlevel.checkpoint()

    def note_removed(self, project: Project, removals: list[FoldRemoval]) -> None:
        assert self.floors, "the store is told of the floor before anything is gone"
        self.removals += removals


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def test_the_floor_is_stored_before_anything_is_taken_out() -> None:
    world = World()
    world.edit(0)
    world.delete(1)
    root = world.replica.root
    await world.round()
    assert world.collected_before_floor == 0
    assert {r.object for r in world.removals} == {"flag/0", "flag/1"}
    assert world.counting.collected == len(world.removals)
    assert "flag/1" not in world.replica.objects
    assert world.replica.root == root == world.replica.recomputed_root()


async def test_nothing_is_asked_or_stored_where_there_is_no_garbage() -> None:
    world = World()
    await world.round()
    await world.round()
    assert (world.asked, world.floors, world.counting.rounds) == (0, [], 0)


async def test_a_round_that_can_bring_nothing_new_is_left_out() -> None:
    world = World()
    world.write(
        world.ben, *[CellWrite("flag/0", g, "tag/x", TOMBSTONE) for g in world.replica.cells("flag/0")]
    )
    world.write(
        world.ada, *[CellWrite("flag/1", g, "exists", TOMBSTONE) for g in world.replica.cells("flag/1")]
    )
    await world.round()
    stored = len(world.floors)
    await world.round()
    await world.round()
    assert len(world.floors) == stored


async def test_a_restarted_node_finds_the_garbage_of_its_state() -> None:
    world = World()
    world.edit(2)
    fresh = Collector(world, {"shop": world.project}, world.counting, Random(1), interval_ms=10_000)
    await fresh.collect(world.project)
    assert {r.object for r in world.removals} == {"flag/2"}


async def test_a_state_that_came_as_a_whole_is_looked_at_again() -> None:
    world = World()
    await world.round()
    (generation,) = world.replica.cells("flag/0")
    world.ben.rewind()
    world.replica.apply(
        world.ben.write([CellWrite("flag/0", generation, "description", "z")], hlc=9, author="x")
    )
    await world.round()
    assert world.removals == [], "nobody has told of it"
    world.collector.state_came("shop")
    await world.round()
    assert {r.object for r in world.removals} == {"flag/0"}


async def test_nothing_is_collected_while_blocked_merging_or_no_member() -> None:
    for hindrance in ("blocked", "merging", "no member"):
        world = World()
        world.edit(0)
        world.blocked = hindrance == "blocked"
        world.project.merging = hindrance == "merging"
        world.may_collect = hindrance != "no member"
        await world.round()
        assert world.removals == [], hindrance
        assert world.replica.floor == {}, hindrance
        world.blocked = world.project.merging = False
        world.may_collect = True
        await world.round()
        assert world.removals, hindrance


async def test_a_merge_that_begins_in_between_ends_the_round_and_the_next_one_goes_on() -> None:
    world = World(flags=3 * SLICE_CELLS)
    for i in range(3 * SLICE_CELLS):
        world.edit(i)

    async def merge() -> None:
        while not world.removals:
            await trio.lowlevel.checkpoint()
        world.project.merging = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(merge)
        nursery.start_soon(world.round)
    assert 0 < len(world.removals) < 3 * SLICE_CELLS
    world.project.merging = False
    await world.round()
    assert len(world.removals) == 3 * SLICE_CELLS


async def test_others_get_their_turn_after_a_bounded_number_of_cells() -> None:
    world = World(flags=4 * SLICE_CELLS)
    for i in range(4 * SLICE_CELLS):
        world.edit(i)
    seen = [0]

    async def watch() -> None:
        while len(world.removals) < 4 * SLICE_CELLS:
            seen.append(len(world.removals))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(world.round)
    assert max(b - a for a, b in pairwise(seen)) <= SLICE_CELLS


async def test_who_is_waited_for_is_told_with_the_time_since(autojump_clock: MockClock) -> None:
    world = World()
    world.edit(0)
    world.blocked = True
    world.behind = (Waiting(AP, None),)
    await world.round()
    assert world.collector.blockers("shop") == {}, "not yet: it is the way of every announcement"
    await trio.sleep(BLOCKED_AFTER_S + 1)
    await world.round()
    told = world.collector.status(wall_ms=1_700_000_031_000)["shop"]
    assert told["candidates"] == 1
    assert told["floor_lag"] == sum(world.replica.vv.values())
    assert told["blocked_by"] == [
        {
            "node": "ap-1",
            "registration": "00",
            "since": "2023-11-14T22:13:20.000Z",
            "waited_ms": 31_000,
            "twins": False,
        }
    ]
    world.blocked, world.behind = False, ()
    await world.round()
    assert world.collector.status(wall_ms=0)["shop"]["blocked_by"] == []


async def test_a_member_that_is_two_processes_is_told_at_once(autojump_clock: MockClock) -> None:
    world = World()
    world.edit(0)
    world.blocked = True
    world.behind = (Waiting(US, Announcement(US, Version(1, 1, 5), 1, {}, {}, twins=(6,))),)
    await world.round()
    (told,) = world.collector.status(wall_ms=0)["shop"]["blocked_by"]
    assert (told["node"], told["twins"]) == ("us-1", True)


async def test_a_member_that_follows_with_a_delay_does_not_block(autojump_clock: MockClock) -> None:
    world = World()
    world.edit(0)
    lagging: dict[int, int] = {}
    for i in range(20):
        told = Announcement(US, Version(1, i + 1), 1, {"shop": dict(lagging)}, {"shop": i + 1})
        world.behind = (Waiting(US, told), Waiting(AP, Announcement(AP, Version(1, 1), 1, {}, {})))
        world.blocked = True
        await world.round()
        lagging = dict(world.replica.vv)
        world.edit(1, f"edit {i}")
        await trio.sleep(10)
    assert set(world.collector.blockers("shop")) == {AP}
