"""The simulated disk's faults: what a crash, a failed sync and death do to a journal."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from tests.contract.rows import A, B, causes_of_row, gather, row
from vexil.chaos.world.process_life import ProcessDead, ProcessLife
from vexil.chaos.world.simulated_disk import DiskFaults, SimulatedDisk, SimulatedJournal
from vexil.node.seams import JournalIndeterminate, LogRecord


def start(disk: SimulatedDisk, life: ProcessLife | None = None) -> SimulatedJournal:
    return SimulatedJournal(disk, life, causes=causes_of_row)


async def left_on(disk: SimulatedDisk) -> list[LogRecord]:
    return await gather(start(disk).replay(after={}))


async def interrupted(faults: DiskFaults, seed: int) -> list[LogRecord]:
    """One append is done, three are under way when the machine stops."""
    disk = SimulatedDisk(random.Random(seed), faults)
    journal = start(disk)
    await journal.append([row(A, 1)])
    async with trio.open_nursery() as nursery:
        for number in (2, 3, 4):
            nursery.start_soon(journal.append, [row(number, 1), row(number, 2)])
        await trio.testing.wait_all_tasks_blocked()
        journal.kill()
        nursery.cancel_scope.cancel()
    assert disk.frames == 4
    disk.crash()
    return await left_on(disk)


async def test_a_crash_loses_what_was_not_synced(autojump_clock: trio.testing.MockClock) -> None:
    assert await interrupted(DiskFaults(sync_ms_max=10), 1) == [row(A, 1)]


async def test_a_crash_may_keep_what_was_not_synced(autojump_clock: trio.testing.MockClock) -> None:
    assert len(await interrupted(DiskFaults(sync_ms_max=10, crash_keeps=1), 1)) == 7


async def test_a_torn_frame_is_dropped_whole(autojump_clock: trio.testing.MockClock) -> None:
    lengths = {len(await interrupted(DiskFaults(sync_ms_max=10, crash_tears=1), seed)) for seed in range(40)}
    assert lengths == {1, 3, 5}


async def test_a_torn_frame_is_cut_off_by_the_next_start(autojump_clock: trio.testing.MockClock) -> None:
    disk = SimulatedDisk(random.Random(0))
    await start(disk).append([row(A, 1)])
    disk.tear(7)
    journal = start(disk)
    assert disk.frames == 0
    await journal.append([row(A, 2)])
    assert start(disk).damaged_frames == 0


async def test_the_same_seed_gives_the_same_remains(autojump_clock: trio.testing.MockClock) -> None:
    async def remains(seed: int) -> list[int]:
        disk = SimulatedDisk(
            random.Random(seed), DiskFaults(sync_ms_max=10, crash_tears=0.5, crash_keeps=0.3)
        )
        counts = []
        for incarnation in range(1, 9):
            journal = start(disk)
            with trio.move_on_after(0.02):
                for seq in range(1, 100):
                    await journal.append([row(incarnation, seq, body=bytes(50))])
            journal.kill()
            disk.crash()
            counts.append(len(await left_on(disk)))
        return counts

    histories = [await remains(seed) for seed in range(6)]
    assert histories == [await remains(seed) for seed in range(6)]
    assert len({tuple(counts) for counts in histories}) > 1


async def test_a_dead_process_never_writes_and_hears_no_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = SimulatedDisk(random.Random(0), DiskFaults(sync_ms_max=10))
    life = ProcessLife()
    journal = start(disk, life)
    answers: list[str] = []

    async def append() -> None:
        try:
            await journal.append([row(A, 1)])
        except ProcessDead:
            answers.append("dead")
        else:
            answers.append("done")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(append)
        await trio.testing.wait_all_tasks_blocked()
        life.kill()
    assert answers == ["dead"]
    disk.crash()
    with pytest.raises(ProcessDead):
        await journal.append([row(A, 2)])
    with pytest.raises(ProcessDead):
        await gather(journal.replay(after={}))
    with pytest.raises(ProcessDead):
        await journal.read_changes("p", after={}, through={A: 1}, limit_bytes=1)
    assert disk.frames == 0
    assert await left_on(disk) == []


async def test_a_cancelled_dead_process_is_cancelled_at_once(autojump_clock: trio.testing.MockClock) -> None:
    disk = SimulatedDisk(random.Random(0), DiskFaults(sync_ms_max=1e9))
    journal = start(disk)
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.append, [row(A, 1)])
        await trio.testing.wait_all_tasks_blocked()
        journal.kill()
        nursery.cancel_scope.cancel()
    assert trio.current_time() == started


async def test_an_append_that_is_cancelled_during_its_sync_returns_its_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = SimulatedDisk(random.Random(0), DiskFaults(sync_ms_max=1_000))
    journal = start(disk)
    with trio.move_on_after(0.000_1) as scope:
        await journal.append([row(A, 1)])
        assert trio.current_time() > scope.deadline
        assert disk.synced == 1
    assert not scope.cancelled_caught


async def test_a_failed_sync_is_indeterminate_and_ends_the_journal() -> None:
    kept = 0
    for seed in range(20):
        disk = SimulatedDisk(random.Random(seed), DiskFaults(crash_keeps=0.5))
        journal = start(disk)
        await journal.append([row(A, 1)])
        disk.faults = DiskFaults(sync_fails=1, crash_keeps=0.5)
        with pytest.raises(JournalIndeterminate):
            await journal.append([row(A, 2)])
        disk.faults = DiskFaults(crash_keeps=0.5)
        with pytest.raises(JournalIndeterminate):
            await journal.append([row(A, 3)])
        journal.kill()
        disk.crash()
        found = await left_on(disk)
        assert found in ([row(A, 1)], [row(A, 1), row(A, 2)])
        kept += len(found) - 1
    assert 0 < kept < 20


async def test_syncs_are_shared_by_those_that_wait(autojump_clock: trio.testing.MockClock) -> None:
    disk = SimulatedDisk(random.Random(0), DiskFaults(sync_ms_max=10))
    journal = start(disk)
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(1, 200):
            nursery.start_soon(journal.append, [row(number, 1)])
    assert trio.current_time() - started <= 0.02
    assert disk.synced == 199


async def test_a_damaged_frame_is_left_out_and_a_lost_disk_is_empty() -> None:
    disk = SimulatedDisk(random.Random(0))
    journal = start(disk)
    for number in (1, 2, 3):
        await journal.append([row(B, number)])
    disk.flip_byte(1, 6)
    after = start(disk)
    assert await gather(after.replay(after={})) == [row(B, 1), row(B, 3)]
    assert after.damaged_frames == 1
    disk.wipe()
    assert await left_on(disk) == []


async def test_a_trim_that_is_killed_anywhere_leaves_the_rest_without_a_gap() -> None:
    left = set()
    for ticks in range(12):
        disk = SimulatedDisk(random.Random(0))
        journal = start(disk)
        for seq in range(1, 21, 2):
            await journal.append([row(A, seq), row(A, seq + 1), row(B, seq)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.trim, "p", {A: 17, B: 17})
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        mine = [record.seq for record in await gather(journal.replay(after={})) if record.incarnation == A]
        journal.kill()
        disk.crash()
        assert [record.seq for record in await left_on(disk) if record.incarnation == A] == mine
        assert mine == list(range(mine[0], 21))
        left.add(mine[0])
        again = start(disk)
        await again.trim("p", {A: 17, B: 17})
        assert await left_on(disk) == [row(A, 18), row(A, 19), row(A, 20), row(B, 19)]
    assert len(left) > 3


async def test_a_trim_beside_appends_loses_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        disk = SimulatedDisk(rng, DiskFaults(sync_ms_max=10))
        journal = start(disk)
        returned: list[int] = []

        async def append(
            number: int, journal: SimulatedJournal = journal, returned: list[int] = returned
        ) -> None:
            await trio.sleep(number / 1000)
            await journal.append([row(A, number)])
            returned.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(1, 40):
                nursery.start_soon(append, number)
            for _ in range(3):
                await trio.sleep(rng.random() / 50)
                await journal.trim("p", {A: 5})
            await trio.sleep(rng.random() / 50)
            journal.kill()
            nursery.cancel_scope.cancel()
        disk.crash()
        found = {record.seq for record in await left_on(disk)}
        assert {number for number in returned if number > 5} <= found


async def test_a_trim_leaves_damaged_frames_and_the_torn_tail_to_the_next_start() -> None:
    disk = SimulatedDisk(random.Random(0))
    journal = start(disk)
    for seq in range(1, 5):
        await journal.append([row(A, seq)])
    disk.flip_byte(1, 6)
    journal = start(disk)
    await journal.trim("p", {A: 3})
    after = start(disk)
    assert await gather(after.replay(after={})) == [row(A, 4)]
    assert after.damaged_frames == 1
