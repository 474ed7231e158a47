"""How much the SQLite store takes, keeps and gives out at once; what is beyond it is refused whole or comes later."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.rows import A, B, causes_of_row, gather, row
from vexil.node.adapters import sqlite, sqlite_file, sqlite_log, sqlite_state
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import AsideRecord

PLENTY = 1 << 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


async def test_an_append_of_too_many_records_is_refused_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "APPEND_RECORDS_MAX", 3)
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        with pytest.raises(ValueError, match="4 records in one write, more than 3"):
            await store.append([row(A, seq) for seq in range(1, 5)])
        assert await gather(store.replay(after={})) == []
        most = [row(A, seq) for seq in range(1, 4)]
        await store.append(most)
        assert await gather(store.replay(after={})) == most


async def test_an_append_with_too_large_a_record_is_refused_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = row(A, 1, body=b"x" * 100)
    monkeypatch.setattr(sqlite, "RECORD_BYTES_MAX", len(most.raw))
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        with pytest.raises(ValueError, match=f"more than {len(most.raw)}"):
            await store.append([most, row(A, 2, body=b"x" * 101)])
        assert await gather(store.replay(after={})) == []
        await store.append([most])
        assert await gather(store.replay(after={})) == [most]


@pytest.mark.parametrize(
    ("incarnation", "seq"),
    [(A, 0), (A, -1), (A, sqlite_log.SEQ_MAX + 1), (0, 1), (-1, 1), (sqlite.INCARNATION_MAX + 1, 1)],
)
async def test_a_record_that_has_no_dot_is_refused(path: Path, incarnation: int, seq: int) -> None:
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        with pytest.raises(ValueError, match="no dot"):
            await store.append([row(incarnation, seq)])
        last = row(sqlite.INCARNATION_MAX, sqlite_log.SEQ_MAX)
        await store.append([last])
        assert await gather(store.replay(after={})) == [last]


async def test_a_replay_comes_in_batches_of_so_many_bytes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_log, "REPLAY_BYTES_MAX", 1_000)
    rows = [row(A, seq, body=b"x" * 300) for seq in range(1, 21)]
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        await store.append(rows)
        batches = [list(batch) async for batch in store.replay(after={})]
    assert max(sum(len(record.raw) for record in batch[:-1]) for batch in batches) < 1_000
    assert max(map(len, batches)) < 5
    assert [record for batch in batches for record in batch] == rows


async def test_a_page_of_changes_or_of_history_has_so_many_rows_and_the_next_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_log, "CHANGES_ROWS_MAX", 4)
    monkeypatch.setattr(sqlite_log, "HISTORY_ROWS_MAX", 3)
    rows = [row(A, seq) for seq in range(1, 11)]
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        await store.append(rows)
        pages: list[int] = []
        while len(rows) > sum(pages):
            page = await store.read_changes("p", after={A: sum(pages)}, through={A: 10}, limit_bytes=PLENTY)
            assert page == rows[sum(pages) : sum(pages) + 4]
            pages.append(len(page))
        assert pages == [4, 4, 2]
        cursor: str | None = None
        found: list[bytes] = []
        while history := await store.read_history("p", before=cursor, limit=100):
            assert len(history) <= 3
            found += [entry.raw for entry in history]
            cursor = history[-1].cursor
        assert found == [record.raw for record in reversed(rows)]


async def test_damaged_rows_are_counted_up_to_a_bound_and_left_out_beyond_it_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_log, "DAMAGED_POSITIONS_MAX", 2)
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        await store.append([row(A, seq, body=b"sound") for seq in range(1, 6)] + [row(B, 1)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE log SET raw = replace(raw, 'sound', 'wrong') WHERE seq > 1")
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        assert await gather(store.replay(after={})) == [row(A, 1, body=b"sound"), row(B, 1)]
        assert store.damaged_records == 2


async def test_beyond_so_many_bytes_the_oldest_that_was_put_aside_goes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_state, "ASIDE_BYTES_MAX", 1_000)
    records = [AsideRecord("p", "reason", "us-1", b"%d" % n * 300) for n in range(5)]
    async with SqliteStore.open(path) as store:
        for record in records[:3]:
            await store.put_aside(record)
        assert list(await store.read_aside()) == records[:3]
        for record in records[3:]:
            await store.put_aside(record)
        assert list(await store.read_aside()) == records[2:]


async def test_a_write_ahead_log_that_grew_is_cut_back_to_a_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "WAL_BYTES_KEPT_MAX", 100_000)
    wal = path.with_name(f"{path.name}-wal")
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        await store.append([row(A, seq, body=b"x" * 10_000) for seq in range(1, 101)])
        assert wal.stat().st_size > 1_000_000
        assert store._writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
        await store.append([row(A, 101)])
        assert wal.stat().st_size <= 100_000
        assert len(await gather(store.replay(after={}))) == 101
