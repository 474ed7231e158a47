"""What a start makes of a disk: causes that are missing, records that are damaged, logs that others have written."""

from __future__ import annotations

import msgpack
import trio

from tests.unit.node.engine.world import (
    SHOP,
    Place,
    Stranger,
    check_roots,
    creates,
    node,
    push,
    running,
    shop,
    state_of,
    write,
)
from vexil.chaos.world.simulated_disk import SimulatedJournal
from vexil.chaos.world.simulated_store import StoreFaults
from vexil.crdt import change as changes
from vexil.crdt.change import Change
from vexil.node.seams import AsideRecord, LogRecord


async def on_disk(place: Place, *records: Change | LogRecord) -> None:
    """Put records into the node's journal, as an earlier process might have left them there."""
    rows = [r if isinstance(r, LogRecord) else LogRecord(SHOP, r.incarnation, r.seq, r.raw) for r in records]
    await SimulatedJournal(place.disk).append(rows)


async def test_a_record_whose_cause_is_not_here_waits_until_the_cause_comes(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("mine"))
    first, second = Stranger(0xA1), Stranger(0xA2)
    cause = first.create("cause")
    second.replica.apply(cause)
    await on_disk(place, second.create("effect"), second.create("more"))
    async with running(place.engine()) as engine:
        assert shop(engine).flag_keys() == ["mine"]
        assert engine.status()["projects"][SHOP]["waiting"] == 2
        await write(engine, creates("later"))
        answer = await push(engine, [cause])
        assert answer.vv_by_project("have")[SHOP][0xA1] == 1
        await trio.sleep(0.1)
        assert shop(engine).flag_keys() == ["cause", "effect", "later", "mine", "more"]
        assert engine.status()["projects"][SHOP]["waiting"] == 0
        check_roots(engine)
        last = state_of(engine)[SHOP]
    async with running(place.engine()) as engine:
        assert state_of(engine)[SHOP] == last


async def test_what_waits_is_not_told_to_anybody(autojump_clock: object) -> None:
    """A vector is only ever true: what is in the journal but not in the state is not in it."""
    async with node() as (place, engine):
        await write(engine, creates("mine"))
    first, second = Stranger(0xA1), Stranger(0xA2)
    second.replica.apply(first.create("cause"))
    await on_disk(place, second.create("effect"))
    async with running(place.engine()) as engine:
        assert 0xA2 not in shop(engine).replica.vv
        await engine.drain()
        row = await place.store().read_member("eu-1")
        assert row is not None
        assert 0xA2 not in row.vv[SHOP]


async def test_records_that_came_in_any_order_are_applied_in_theirs(autojump_clock: object) -> None:
    async with node() as (place, _):
        pass
    first, second = Stranger(0xA1), Stranger(0xA2)
    log = []
    for n in range(20):
        one, other = (first, second) if n % 2 else (second, first)
        log.append(one.create(f"f{n:02}"))
        other.replica.apply(log[-1])
    await on_disk(place, *reversed(log))
    async with running(place.engine()) as engine:
        assert shop(engine).flag_keys() == [f"f{n:02}" for n in range(20)]
        assert shop(engine).replica.root == first.replica.root
        check_roots(engine)


async def test_a_record_that_cannot_be_read_is_put_aside_and_the_others_are_loaded(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        await write(engine, creates("mine"))
    bad = bytes(msgpack.packb([99, 0xA1, 1, "a future"]))
    await on_disk(place, LogRecord(SHOP, 0xA1, 1, bad), Stranger(0xA2).create("theirs"))
    async with running(place.engine()) as engine:
        assert shop(engine).flag_keys() == ["mine", "theirs"]
        assert engine.alarms.aside_count == 1
        await trio.sleep(1)
        (record,) = await place.store().read_aside()
        assert record == AsideRecord(SHOP, record.reason, "journal", bad)
        assert record.reason.startswith("undecodable")


async def test_of_two_histories_in_the_journal_the_first_is_loaded_and_the_other_put_aside(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        await write(engine, creates("mine"))
    one, other = Stranger(0xA1), Stranger(0xA1)
    await on_disk(place, one.create("one"), other.create("other"), Stranger(0xA2).create("theirs"))
    async with running(place.engine()) as engine:
        assert shop(engine).flag_keys() == ["mine", "one", "theirs"]
        assert place.kept.aside == ["fork"]


async def test_a_new_slot_on_a_region_that_others_use_takes_only_its_own(autojump_clock: object) -> None:
    """The region's log is shared; what of it belongs to a slot's state is said by the slot's own row."""
    async with node() as (place, engine):
        await write(engine, creates("a"))
        await engine.drain()
        other = Place("eu-3", board=place.board, region=place.region, seeds=("p://eu-1",))
        async with running(other.engine()) as joined:
            assert joined.projects[SHOP].flag_keys() == ["a"]
            await trio.sleep(5)
        row = await place.store().read_member("eu-3")
        assert row is not None
        assert row.vv[SHOP] == shop(engine).replica.vv
        assert row.start == 1
    other.disk.wipe()
    async with running(other.engine()) as joined:
        assert joined.projects[SHOP].flag_keys() == ["a"]
        row = await place.store().read_member("eu-3")
        assert row is not None
        assert row.start == 2


async def test_every_start_has_an_incarnation_of_its_own_and_says_so(autojump_clock: object) -> None:
    place, seen = Place(), []
    for start in range(1, 5):
        async with running(place.engine()) as engine:
            seen.append(engine.incarnation)
            row = await place.store().read_member("eu-1")
            assert row is not None
            assert (row.start, row.incarnation) == (start, engine.incarnation)
            assert engine.directory.members["eu-1"].current == engine.incarnation
            assert all(engine.directory.place_of(i) == ("eu-1", "eu") for i in seen)
    assert len(set(seen)) == 4


async def test_a_start_waits_for_a_store_that_takes_no_row_yet(autojump_clock: object) -> None:
    """Before the row is written a late write of the dead process could still land behind it."""
    place = Place()
    engine = place.engine()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        place.region.faults = StoreFaults(timeout_lost=1.0, timeout_ms=100)
        await trio.sleep(30)
        assert not engine.ready
        place.region.faults = StoreFaults()
        await trio.sleep(5)
        assert engine.ready
        nursery.cancel_scope.cancel()


async def test_dots_of_dead_processes_stay_theirs(autojump_clock: object) -> None:
    place, dots = Place(), []
    async with node(place) as (_, engine):
        dots.append((await write(engine, creates("a"))).dot)
    for key in "bc":
        async with running(place.engine()) as engine:
            dots.append((await write(engine, creates(key))).dot)
            rows = await engine.own_log.read(
                SHOP, after={}, through=shop(engine).replica.vv, limit_bytes=1 << 20
            )
            assert [changes.decode(row.raw).dot for row in rows] == dots
    assert [dot[1] for dot in dots if dot] == [1, 1, 1]
