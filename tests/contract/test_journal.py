"""What every Journal keeps: order, all or none, nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.contract.journal_worlds import JournalWorld, SimulatedJournalWorld, SqliteJournalWorld
from tests.contract.rows import A, B, C, gather, row
from vexil.node.seams import Journal, JournalFull, LogRecord


@pytest.fixture(params=["sqlite", "simulated"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JournalWorld]:
    made: JournalWorld = (
        SqliteJournalWorld(tmp_path) if request.param == "sqlite" else SimulatedJournalWorld()
    )
    yield made
    await made.close()


async def records_after_crash(world: JournalWorld) -> list[LogRecord]:
    await world.crash()
    return await gather((await world.start()).replay(after={}))


async def test_an_empty_journal_replays_nothing(world: JournalWorld) -> None:
    journal = await world.start()
    await journal.append([])
    assert await gather(journal.replay(after={})) == []


async def test_records_come_back_in_the_order_of_appending_after_a_crash(world: JournalWorld) -> None:
    appends = [
        [row(C, 1), row(A, 1, project="q"), row(B, 7, body=bytes(range(256)))],
        [row(A, 1), row(C, 2)],
        [row(A, 2, project="ünïcode/\x00")],
    ]
    journal = await world.start()
    for records in appends:
        await journal.append(records)
    everything = [record for records in appends for record in records]
    assert await gather(journal.replay(after={})) == everything
    assert await records_after_crash(world) == everything


async def test_a_replay_of_many_records_comes_in_bounded_batches(world: JournalWorld) -> None:
    journal = await world.start()
    records = [row(A, seq) for seq in range(1, 3_501)]
    await journal.append(records)
    sizes = [len(batch) async for batch in journal.replay(after={})]
    assert sum(sizes) == len(records)
    assert max(sizes) <= 1_000
    assert await gather(journal.replay(after={})) == records


async def test_a_replay_leaves_out_what_is_covered_and_keeps_the_order_of_the_rest(
    world: JournalWorld,
) -> None:
    journal = await world.start()
    records = [row(i, seq, project=p) for seq in range(1, 6) for i in (A, B) for p in ("p", "q")]
    await journal.append(records)
    covered = {"p": {A: 3, B: 5}, "q": {A: 1, C: 9}}
    expected = [r for r in records if r.seq > covered[r.project].get(r.incarnation, 0)]
    assert await gather(journal.replay(after=covered)) == expected
    assert await gather(journal.replay(after=covered | {"q": {A: 5, B: 9}})) == [row(A, 4), row(A, 5)]
    assert await gather(journal.replay(after={"p": {A: 5, B: 5}, "q": {A: 5, B: 5}})) == []


async def test_a_record_that_is_there_is_not_written_again(world: JournalWorld) -> None:
    journal = await world.start()
    await journal.append([row(A, 1), row(A, 1), row(B, 1)])
    await journal.append([row(B, 1), row(A, 2), row(A, 1, project="q")])
    expected = [row(A, 1), row(B, 1), row(A, 2), row(A, 1, project="q")]
    assert await gather(journal.replay(after={})) == expected
    await world.crash()
    journal = await world.start()
    await journal.append([row(A, 2), row(A, 3)])
    assert await records_after_crash(world) == [*expected, row(A, 3)]


async def test_the_same_dot_with_other_bytes_is_kept_beside_the_first(world: JournalWorld) -> None:
    journal = await world.start()
    await journal.append([row(A, 1, body=b"one")])
    await journal.append([row(A, 1, body=b"other")])
    assert await records_after_crash(world) == [row(A, 1, body=b"one"), row(A, 1, body=b"other")]


async def test_a_torn_last_append_is_dropped_whole_and_the_journal_goes_on(world: JournalWorld) -> None:
    journal = await world.start()
    before = [row(A, seq, body=bytes(100)) for seq in range(1, 40)]
    await journal.append(before)
    world.mark()
    await journal.append([row(A, seq, body=bytes(300)) for seq in range(40, 60)])
    await world.crash()
    for cut in world.cuts():
        torn = world.torn(cut)
        journal = await torn.start()
        assert await gather(journal.replay(after={})) == before, cut
        await journal.append([row(B, 1)])
        assert await records_after_crash(torn) == [*before, row(B, 1)], cut
        await torn.close()


async def test_a_full_disk_is_a_definite_no_and_leaves_nothing(world: JournalWorld) -> None:
    journal = await world.start()
    await journal.append([row(A, 1)])
    world.fill()
    big = [row(B, seq, body=bytes(4_000)) for seq in range(1, 11)]
    with pytest.raises(JournalFull):
        await journal.append(big)
    assert await gather(journal.replay(after={})) == [row(A, 1)]
    world.free()
    await journal.append(big)
    assert await records_after_crash(world) == [row(A, 1), *big]


async def test_nothing_of_an_append_refused_for_space_appears_after_a_crash(world: JournalWorld) -> None:
    journal = await world.start()
    await journal.append([row(A, 1)])
    world.fill()
    with pytest.raises(JournalFull):
        await journal.append([row(B, seq, body=bytes(4_000)) for seq in range(1, 11)])
    assert await records_after_crash(world) == [row(A, 1)]


async def test_concurrent_appends_are_taken_in_call_order(world: JournalWorld) -> None:
    journal = await world.start()
    called: list[LogRecord] = []

    async def append(record: LogRecord) -> None:
        called.append(record)
        await journal.append([record])

    async with trio.open_nursery() as nursery:
        for seq in range(1, 200):
            nursery.start_soon(append, row(A, seq))
    assert len(called) == 199
    assert await gather(journal.replay(after={})) == called
    assert await records_after_crash(world) == called


async def test_an_append_that_was_cancelled_before_it_began_writes_nothing(world: JournalWorld) -> None:
    journal = await world.start()
    with trio.CancelScope() as scope:
        scope.cancel()
        await journal.append([row(A, 1)])
    assert scope.cancelled_caught
    assert await records_after_crash(world) == []


@pytest.mark.parametrize("ticks", range(8))
async def test_cancelled_appends_are_there_whole_or_not_at_all_and_do_not_block_others(
    world: JournalWorld, ticks: int
) -> None:
    journal = await world.start()
    returned: list[int] = []

    async def append(number: int) -> None:
        await journal.append([row(number, seq) for seq in range(1, 6)])
        returned.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(1, 20):
            nursery.start_soon(append, number)
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    await journal.append([row(B, 1)])
    found = await records_after_crash(world)
    assert found.pop() == row(B, 1)
    groups = {record.incarnation for record in found}
    assert groups >= set(returned)
    assert len(found) == 5 * len(groups)
    for start in range(0, len(found), 5):
        assert found[start : start + 5] == [row(found[start].incarnation, seq) for seq in range(1, 6)]


async def test_a_reader_sees_whole_appends_only(world: JournalWorld) -> None:
    journal: Journal = await world.start()
    done = False

    async def write() -> None:
        nonlocal done
        for number in range(1, 30):
            await journal.append([row(number, seq) for seq in range(1, 8)])
        done = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while not done:
            assert len(await gather(journal.replay(after={}))) % 7 == 0
            await trio.lowlevel.checkpoint()
