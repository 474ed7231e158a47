"""What every log keeps, a journal's as a store's: read without gaps, causes before effects, in bounded pages."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contract.journal_worlds import SimulatedJournalWorld
from tests.contract.rows import A, B, C, assert_readable, row, tangled_rows, vector_of
from tests.contract.store_worlds import SimulatedStoreWorld, SqliteStoreWorld
from vexil.node.seams import Journal, LogRecord, Store

PLENTY = 1 << 30


class Log(NamedTuple):
    write: Callable[[Sequence[LogRecord]], Awaitable[None]]
    reader: Journal | Store


@pytest.fixture(params=["sqlite", "simulated store", "simulated journal"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    if request.param == "simulated journal":
        disk = SimulatedJournalWorld()
        journal = await disk.start()
        yield Log(journal.append, journal)
        await disk.close()
        return
    world = SqliteStoreWorld(tmp_path) if request.param == "sqlite" else SimulatedStoreWorld()
    store = await world.connect()
    yield Log(store.write_changes, store)
    await world.close()


async def read_pages(
    log: Log, *, through: Mapping[int, int], limit_bytes: int, after: Mapping[int, int] | None = None
) -> list[LogRecord]:
    """Page on as a reader does: each page is applied, then the next is asked for."""
    reached = dict(after or {})
    found: list[LogRecord] = []
    while page := await log.reader.read_changes("p", after=reached, through=through, limit_bytes=limit_bytes):
        assert_readable(page, reached)
        assert len(page) == 1 or sum(len(record.raw) for record in page) <= limit_bytes
        found += page
        reached.update(vector_of(page))
    return found


async def test_read_changes_gives_what_is_above_after_and_up_to_through(log: Log) -> None:
    rows = [row(i, seq) for seq in range(1, 6) for i in (A, B, C)]
    await log.write(rows)
    await log.write([row(A, seq, project="other") for seq in range(1, 9)])
    found = await log.reader.read_changes(
        "p", after={A: 2, C: 5}, through={A: 4, B: 1, C: 5, 77: 3}, limit_bytes=PLENTY
    )
    assert sorted(found) == sorted([row(A, 3), row(A, 4), row(B, 1)])
    assert await log.reader.read_changes("p", after={A: 5}, through={A: 5}, limit_bytes=PLENTY) == []
    assert await log.reader.read_changes("none", after={}, through={A: 5}, limit_bytes=PLENTY) == []


async def test_rows_behind_a_gap_wait_until_it_is_filled(log: Log) -> None:
    await log.write([row(A, 1), row(A, 2), row(A, 4), row(B, 2)])
    through = {A: 4, B: 2}
    assert await log.reader.read_changes("p", after={}, through=through, limit_bytes=PLENTY) == [
        row(A, 1),
        row(A, 2),
    ]
    assert await log.reader.read_changes("p", after={A: 2}, through=through, limit_bytes=PLENTY) == []
    await log.write([row(A, 3)])
    assert await read_pages(log, after={A: 2}, through=through, limit_bytes=PLENTY) == [row(A, 3), row(A, 4)]


@pytest.mark.parametrize("seed", range(20))
async def test_causes_come_before_effects_whatever_the_order_of_writing(log: Log, seed: int) -> None:
    rng = random.Random(seed)
    rows = tangled_rows(rng, count=150)
    shuffled = rng.sample(rows, len(rows))
    for start in range(0, len(shuffled), 10):
        await log.write(shuffled[start : start + 10])
    through = vector_of(rows)
    for limit_bytes in (1, 200, 3_000, PLENTY):
        assert sorted(await read_pages(log, through=through, limit_bytes=limit_bytes)) == sorted(rows)
    seen = vector_of(rows[:60])
    assert sorted(await read_pages(log, after=seen, through=through, limit_bytes=500)) == sorted(rows[60:])


async def test_a_page_keeps_to_its_limit_but_holds_at_least_one_row(log: Log) -> None:
    rows = [row(A, seq, body=bytes(1_000)) for seq in range(1, 11)]
    size = len(rows[0].raw)
    await log.write(rows)
    for limit_bytes, count in (
        (0, 1),
        (size - 1, 1),
        (size, 1),
        (3 * size, 3),
        (3 * size + 1, 3),
        (PLENTY, 10),
    ):
        page = await log.reader.read_changes("p", after={}, through={A: 10}, limit_bytes=limit_bytes)
        assert page == rows[:count]


async def test_a_row_whose_cause_is_not_here_is_given_out_behind_the_others(log: Log) -> None:
    orphan = row(A, 1, causes=[(C, 5)])
    await log.write([orphan, row(B, 1), row(B, 2)])
    found = await log.reader.read_changes("p", after={}, through={A: 1, B: 2, C: 5}, limit_bytes=PLENTY)
    assert found == [row(B, 1), row(B, 2), orphan]
    assert await log.reader.read_changes("p", after={B: 2}, through={A: 1}, limit_bytes=PLENTY) == [orphan]
    assert await log.reader.read_changes("p", after={C: 5}, through={A: 1}, limit_bytes=PLENTY) == [orphan]
