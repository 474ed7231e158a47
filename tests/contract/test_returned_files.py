"""The files of earlier registrations: moved aside whole wherever a crash comes, read again, let go at the end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.contract.rows import row
from vexil.node.adapters import returned_files
from vexil.node.adapters.returned_files import STORE_FILE, SqliteArchive, archives, complete, set_aside
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import JournalError, LogRecord, MemberRow, StoreError

OLD = "00000000000000aa"


async def state_in(folder: Path, *, registration: str = OLD, records: int = 3) -> list[LogRecord]:
    """A node's file as a stop leaves it."""
    written = [row(7, seq) for seq in range(1, records + 1)]
    async with SqliteStore.open(folder / STORE_FILE) as store:
        await store.append(written)
        await store.write_member(
            MemberRow("eu-1", start=4, revision=2, incarnation=7, registration=registration)
        )
    return written


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def read(path: Path) -> tuple[str, list[LogRecord]]:
    async with SqliteArchive.open(path, "eu-1") as archive:
        last = await archive.row()
        assert last is not None
        assert last.start == 4
        return archive.registration, [r for batch in [b async for b in archive.records()] for r in batch]


async def test_what_was_moved_aside_can_be_read_and_a_new_file_is_empty(tmp_path: Path) -> None:
    written = await state_in(tmp_path)
    set_aside(tmp_path, OLD, keep=True)
    (path,) = archives(tmp_path)
    assert await read(path) == (OLD, written)
    async with SqliteStore.open(tmp_path / STORE_FILE) as store:
        assert await store.read_member("eu-1") is None
        assert await store.log_projects() == []


async def test_a_log_that_was_not_copied_yet_goes_with_its_file(tmp_path: Path) -> None:
    written = await state_in(tmp_path)
    holding = sqlite3.connect(tmp_path / STORE_FILE)  # a process that was killed leaves its log behind
    holding.execute("SELECT count(*) FROM log").fetchone()
    more = [row(8, seq) for seq in range(1, 4)]
    async with SqliteStore.open(tmp_path / STORE_FILE) as store:
        await store.append(more)
    assert (tmp_path / f"{STORE_FILE}-wal").stat().st_size > 0
    set_aside(tmp_path, OLD, keep=True)
    assert not (tmp_path / f"{STORE_FILE}-wal").exists()
    (path,) = archives(tmp_path)
    assert path.with_name(f"{path.name}-wal").exists()
    holding.close()
    assert await read(path) == (OLD, written + more)


async def test_a_move_that_was_cut_short_is_completed_before_anything_is_opened(tmp_path: Path) -> None:
    await state_in(tmp_path)
    (tmp_path / STORE_FILE).replace(tmp_path / f"returned-{OLD}.db")
    for ending in ("-wal", "-shm"):
        (tmp_path / f"{STORE_FILE}{ending}").write_bytes(b"of the old file")
    complete(tmp_path)
    assert names_in(tmp_path) == [
        f"returned-{OLD}.db",
        f"returned-{OLD}.db-shm",
        f"returned-{OLD}.db-wal",
    ]
    complete(tmp_path)


async def test_to_complete_touches_no_file_that_is_in_use(tmp_path: Path) -> None:
    await state_in(tmp_path)
    (tmp_path / f"{STORE_FILE}-wal").write_bytes(b"")
    before = names_in(tmp_path)
    complete(tmp_path)
    assert names_in(tmp_path) == before


async def test_what_only_came_from_a_sponsor_is_not_kept(tmp_path: Path) -> None:
    await state_in(tmp_path)
    set_aside(tmp_path, OLD, keep=False)
    assert names_in(tmp_path) == []
    set_aside(tmp_path, OLD, keep=False)
    set_aside(tmp_path, OLD, keep=True)
    assert names_in(tmp_path) == []


async def test_a_second_state_of_one_registration_does_not_replace_the_first(tmp_path: Path) -> None:
    first = await state_in(tmp_path, records=1)
    set_aside(tmp_path, OLD, keep=True)
    second = await state_in(tmp_path, records=2)
    set_aside(tmp_path, OLD, keep=True)
    assert [await read(path) for path in archives(tmp_path)] == [(OLD, first), (OLD, second)]


async def test_a_discarded_archive_is_gone_and_may_be_discarded_again(tmp_path: Path) -> None:
    await state_in(tmp_path)
    set_aside(tmp_path, OLD, keep=True)
    (path,) = archives(tmp_path)
    async with SqliteArchive.open(path, "eu-1") as archive:
        await archive.discard()
        await archive.discard()
    assert names_in(tmp_path) == []


async def test_a_damaged_archive_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / f"returned-{OLD}.db"
    path.write_bytes(b"not a database at all" * 500)
    with pytest.raises((JournalError, StoreError)):
        async with SqliteArchive.open(path, "eu-1"):
            pass
    assert path.exists()
    assert returned_files.archives(tmp_path) == [path]


async def test_an_archive_with_a_damaged_row_is_kept_where_no_start_reads_it(tmp_path: Path) -> None:
    written = await state_in(tmp_path)
    set_aside(tmp_path, OLD, keep=True)
    (path,) = archives(tmp_path)
    damaging = sqlite3.connect(path)
    damaging.execute("UPDATE log SET raw = x'00' WHERE seq = 2")
    damaging.commit()
    damaging.close()
    async with SqliteArchive.open(path, "eu-1") as archive:
        found = [r for batch in [b async for b in archive.records()] for r in batch]
        assert (found, archive.damaged) == ([written[0], written[2]], 1)
        await archive.discard()
        await archive.discard()
    assert (names_in(tmp_path), archives(tmp_path)) == ([f"damaged-{OLD}.db"], [])
