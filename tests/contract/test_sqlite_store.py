"""What is the SQLite store's own: what its errors mean, damage, versions, group commit."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgpack
import pytest
import trio
import trio.testing

from tests.contract.faulty_connection import FaultyConnections, failing
from tests.contract.rows import A, B, C, causes_of_row, gather, lane, row
from vexil.node.adapters import sqlite_commit
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.adapters.sqlite_fold import FOLD_CHUNK_ROWS
from vexil.node.adapters.sqlite_migrations import SCHEMA_VERSION
from vexil.node.seams import (
    JournalError,
    JournalFull,
    JournalIndeterminate,
    LogRecord,
    MemberRow,
    StoreIndeterminate,
    StoreUnavailable,
)

PLENTY = 1 << 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


def overwrite(path: Path, *, at: int, junk: bytes) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(at)
        file.write(junk)


def size_of(path: Path) -> int:
    return path.stat().st_size


def copy_of(path: Path) -> Path:
    return Path(shutil.copy(path, path.with_name("copy.sqlite")))


async def stored(path: Path) -> list[LogRecord]:
    async with SqliteStore.open(path) as store:
        return await gather(store.replay(after={}))


# Opening


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"missing/node\.sqlite"):
        await SqliteStore.aopen(tmp_path / "missing" / "node.sqlite")


async def test_a_file_that_is_no_database_is_refused_by_name(path: Path) -> None:
    overwrite(path, at=0, junk=b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(JournalError, match=r"node\.sqlite: .*damaged"):
        await SqliteStore.aopen(path)


async def test_someone_else_s_database_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(JournalError, match="not one of Vexil's"):
        await SqliteStore.aopen(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]


async def test_a_newer_schema_is_refused_and_the_file_left_alone(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append([row(A, 1)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schema SET version = ?", (SCHEMA_VERSION + 1,))
    with pytest.raises(JournalError, match=f"newer Vexil .schema {SCHEMA_VERSION + 1}"):
        await SqliteStore.aopen(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schema SET version = ?", (SCHEMA_VERSION,))
    assert await stored(path) == [row(A, 1)]


async def test_a_first_start_that_was_killed_between_any_two_steps_is_made_good(tmp_path: Path) -> None:
    copies: list[Path] = []

    def connect(file: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)

        def copy(_statement: str) -> None:
            folder = tmp_path / str(len(copies))
            folder.mkdir()
            for name in (file.name, f"{file.name}-wal"):
                if (file.parent / name).exists():
                    (folder / name).write_bytes((file.parent / name).read_bytes())
            copies.append(folder)

        connection.set_trace_callback(copy)
        return connection

    async with SqliteStore.open(tmp_path / "node.sqlite", connect=connect):
        pass
    assert len(copies) > 10
    for folder in copies:
        async with SqliteStore.open(folder / "node.sqlite") as store:
            await store.append([row(A, 1)])
            assert await gather(store.replay(after={})) == [row(A, 1)]


async def test_every_commit_is_synced_and_the_file_has_a_write_ahead_log(path: Path) -> None:
    # That a sync reaches the platter cannot be seen from a process; that SQLite is told to do one can.
    async with SqliteStore.open(path) as store:
        full = 2
        assert store._writer.execute("PRAGMA synchronous").fetchone() == (full,)
        assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# Damage


async def test_a_row_with_a_wrong_checksum_is_left_out_counted_once_and_mended_by_writing_it_again(
    path: Path,
) -> None:
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        await store.append([row(A, seq, body=b"sound") for seq in range(1, 5)] + [row(B, 1)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE log SET raw = replace(raw, 'sound', 'wrong') WHERE seq = 3")
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        sound = [row(A, 1, body=b"sound"), row(A, 2, body=b"sound"), row(A, 4, body=b"sound"), row(B, 1)]
        assert await gather(store.replay(after={})) == sound
        assert await gather(store.replay(after={})) == sound
        page = await store.read_changes("p", after={}, through={A: 9, B: 9}, limit_bytes=PLENTY)
        assert page == [sound[0], sound[1], sound[3]]
        assert len(await store.read_history("p", before=None, limit=9)) == 4
        assert store.damaged_records == 1
        await store.append([row(A, 3, body=b"sound")])
        page = await store.read_changes("p", after={A: 2}, through={A: 9}, limit_bytes=PLENTY)
        assert [record.seq for record in page] == [3, 4]


@pytest.mark.parametrize("column", ["seq = seq + 1", "raw = 7", "raw = x''", "stream = 99", "stream = 1"])
async def test_a_row_that_is_damaged_elsewhere_is_left_out_too(path: Path, column: str) -> None:
    async with SqliteStore.open(path) as store:
        await store.append([row(A, 1), row(B, 1), row(A, 2)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE log SET {column} WHERE position = 2")  # noqa: S608 - the texts above
    async with SqliteStore.open(path) as store:
        assert await gather(store.replay(after={})) == [row(A, 1), row(A, 2)]
        assert store.damaged_records == 1


async def test_a_damaged_file_is_named_and_never_a_bare_sqlite_error(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append([row(A, seq, body=bytes(3_000)) for seq in range(1, 60)])
        await store.write_fold("p", [lane(f"flag/{n}", A, lane_seq=1) for n in range(500)])
    seen: set[type[Exception]] = set()
    unnamed = 0
    for at in range(100, size_of(path), 4096):
        copy = copy_of(path)
        overwrite(copy, at=at if at == 100 else at - 100, junk=b"\xee" * 200)
        try:
            async with SqliteStore.open(copy) as store:
                await gather(store.replay(after={}))
                await gather(store.read_fold("p"))
                await store.read_history("p", before=None, limit=100)
                await store.append([row(B, 1)])
                await store.write_member(MemberRow("eu-1", 1, 1, 1))
        except (JournalError, StoreUnavailable) as error:
            seen.add(type(error))
            unnamed += str(copy) not in str(error)
    assert {JournalError, StoreUnavailable} <= seen
    assert unnamed == 0


async def test_an_append_to_a_damaged_file_is_not_said_to_be_a_matter_of_space(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append([row(A, seq, body=bytes(3_000)) for seq in range(1, 30)])
    behind_the_schema = 2 * 4096
    overwrite(path, at=behind_the_schema, junk=b"\xee" * (size_of(path) - behind_the_schema))
    async with SqliteStore.open(path) as store:
        with pytest.raises(JournalError, match="damaged") as refused:
            await store.append([row(B, 1)])
        assert type(refused.value) is JournalError


async def test_a_damaged_member_row_is_said_by_name(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.write_member(MemberRow("eu-1", 1, 1, 1))
        store._writer.execute("UPDATE member SET body = x'C1'")
        with pytest.raises(StoreUnavailable, match=r"member row of eu-1 is damaged"):
            await store.read_member("eu-1")


@pytest.mark.parametrize("later", [[], [[A, C]], [[A, C], 77], [[A, C], 77, "of a later version"]])
async def test_a_member_row_of_an_earlier_version_is_read(path: Path, later: list[object]) -> None:
    async with SqliteStore.open(path) as store:
        await store.write_member(MemberRow("eu-1", 2, 3, B))
        body = msgpack.packb([B, 0, {"p": {A: 1}}, {"p": b"header"}, *later])
        store._writer.execute("UPDATE member SET body = ?", (body,))
        forked = (A, C) if later else ()
        hlc = 77 if len(later) > 1 else 0
        assert await store.read_member("eu-1") == MemberRow(
            "eu-1", 2, 3, B, vv={"p": {A: 1}}, fold={"p": b"header"}, forked=forked, hlc=hlc
        )


# A COMMIT that fails


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_READONLY"])
async def test_a_commit_that_found_no_room_is_a_definite_no_and_the_next_append_works(
    path: Path, name: str
) -> None:
    connections = FaultyConnections()
    async with SqliteStore.open(path, connect=connections) as store:
        await store.append([row(A, 1)])
        connections.writer.before_commit = failing(name)
        with pytest.raises(JournalFull, match=name):
            # A new incarnation: what was noted of it in the lost transaction is void.
            await store.append([row(B, 1)])
        await store.append([row(B, 2)])
        assert await gather(store.replay(after={})) == [row(A, 1), row(B, 2)]
        connections.writer.before_commit = failing(name)
        with pytest.raises(StoreUnavailable, match=name):
            await store.write_member(MemberRow("eu-1", 1, 1, 1))
        assert await store.read_member("eu-1") is None


@pytest.mark.parametrize("name", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR", "SQLITE_IOERR_SHMMAP"])
async def test_a_commit_that_may_be_on_the_disk_is_indeterminate_and_seals_the_file(
    path: Path, name: str
) -> None:
    connections = FaultyConnections()
    async with SqliteStore.open(path, connect=connections) as store:
        await store.append([row(A, 1)])
        connections.writer.before_commit = failing(name)
        with pytest.raises(JournalIndeterminate, match=name):
            await store.append([row(A, 2)])
        with pytest.raises(JournalIndeterminate, match=name):
            await store.append([row(A, 3)])
        with pytest.raises(StoreIndeterminate, match=name):
            await store.write_member(MemberRow("eu-1", 1, 1, 1))
        assert await gather(store.replay(after={})) == [row(A, 1)]
    async with SqliteStore.open(path) as store:
        await store.append([row(A, 2)])


async def test_a_commit_that_failed_after_it_took_effect_is_a_success(path: Path) -> None:
    connections = FaultyConnections()
    async with SqliteStore.open(path, connect=connections) as store:
        connections.writer.after_commit = failing("SQLITE_IOERR")
        await store.append([row(A, 1), row(A, 2)])
        await store.append([row(A, 3)])
    assert await stored(path) == [row(A, 1), row(A, 2), row(A, 3)]


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_IOERR"])
async def test_a_commit_that_cannot_be_read_back_is_indeterminate(path: Path, name: str) -> None:
    connections = FaultyConnections()
    async with SqliteStore.open(path, connect=connections) as store:
        await store.append([row(A, 1)])

        def fail() -> None:
            connections.writer.on_select = failing("SQLITE_IOERR_READ")
            failing(name)()

        connections.writer.after_commit = fail
        with pytest.raises(JournalIndeterminate, match="Reading it back failed"):
            await store.append([row(A, 2)])
    # Here it had been written: both answers were possible.
    assert await stored(path) == [row(A, 1), row(A, 2)]


async def test_a_failed_group_is_failed_for_each_of_its_appends(path: Path) -> None:
    connections = FaultyConnections()
    refused: list[int] = []
    async with SqliteStore.open(path, connect=connections) as store:
        await store.append([row(A, 1)])

        async def append(seq: int) -> None:
            try:
                await store.append([row(B, seq)])
            except JournalFull:
                refused.append(seq)
            # The first one is alone; those that wait behind it are the next group.
            connections.writer.before_commit = failing("SQLITE_FULL") if not refused else None

        async with trio.open_nursery() as nursery:
            for seq in range(1, 11):
                nursery.start_soon(append, seq)
        assert len(refused) == 9
        assert len(await gather(store.replay(after={}))) == 2


async def test_a_fold_write_of_which_a_part_is_there_is_indeterminate(path: Path) -> None:
    connections = FaultyConnections()
    async with SqliteStore.open(path, connect=connections) as store:
        entries = [lane(f"flag/{n:05}", A, lane_seq=1) for n in range(2 * FOLD_CHUNK_ROWS)]
        first = connections.writer.commits

        def fail_second() -> None:
            connections.writer.before_commit = failing("SQLITE_FULL")

        connections.writer.after_commit = fail_second
        with pytest.raises(StoreIndeterminate, match=f"first {FOLD_CHUNK_ROWS} entries"):
            await store.write_fold("p", entries)
        assert connections.writer.commits == first + 2
        assert len(await gather(store.read_fold("p"))) == FOLD_CHUNK_ROWS
        await store.write_fold("p", entries)
        assert len(await gather(store.read_fold("p"))) == len(entries)


# Group commit, bounds, closing


async def test_appends_that_wait_are_committed_together(path: Path) -> None:
    connections = FaultyConnections()
    async with SqliteStore.open(path, connect=connections) as store:
        before = connections.writer.commits
        async with trio.open_nursery() as nursery:
            for seq in range(1, 101):
                nursery.start_soon(store.append, [row(A, seq)])
        assert connections.writer.commits - before == 2
        assert len(await gather(store.replay(after={}))) == 100


async def test_a_group_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_commit, "GROUP_RECORDS_MAX", 10)
    connections = FaultyConnections()
    async with SqliteStore.open(path, connect=connections) as store:
        before = connections.writer.commits
        async with trio.open_nursery() as nursery:
            for number in range(1, 11):
                nursery.start_soon(store.append, [row(number, seq) for seq in range(1, 5)])
        assert connections.writer.commits - before == 6
        assert len(await gather(store.replay(after={}))) == 40


async def test_more_writes_than_may_wait_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_commit, "JOBS_WAITING_MAX", 5)
    refused: dict[int, str] = {}
    async with SqliteStore.open(path) as store:

        async def append(seq: int) -> None:
            try:
                await store.append([row(A, seq)])
            except JournalFull as error:
                refused[seq] = str(error)

        async with trio.open_nursery() as nursery:
            for seq in range(1, 21):
                nursery.start_soon(append, seq)
        found = [record.seq for record in await gather(store.replay(after={}))]
    assert len(refused) == 20 - 1 - 5
    assert sorted(found + list(refused)) == list(range(1, 21))
    assert all("5 writes are waiting" in message for message in refused.values())


async def test_reading_does_not_wait_for_a_writer(path: Path) -> None:
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        await store.append([row(A, 1)])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.append, [row(A, 2)])
                with trio.fail_after(4):  # less than the store would wait for the other writer
                    assert await gather(store.replay(after={})) == [row(A, 1)]
                    assert await store.read_member("eu-1") is None
                other.execute("ROLLBACK")
        assert await gather(store.replay(after={})) == [row(A, 1), row(A, 2)]


@pytest.mark.parametrize("record", [
    LogRecord("p", 0, 1, b""), LogRecord("p", 1 << 64, 1, b""), LogRecord("p", 1, 0, b""),
    LogRecord("p", 1, 1 << 62, b""), LogRecord("\ud800", 1, 1, b""), LogRecord("p", 1, 1, bytes((16 << 20) + 1)),
])  # fmt: skip
async def test_a_record_that_cannot_be_kept_is_our_bug_and_harms_no_other(
    path: Path, record: LogRecord
) -> None:
    async with SqliteStore.open(path) as store:
        with pytest.raises(ValueError, match=r"dot|bytes|surrogates"):
            await store.append([row(A, 1), record])
        await store.append([row(A, 2)])
        assert await gather(store.replay(after={})) == [row(A, 2)]


async def test_a_bug_inside_a_transaction_is_raised_and_leaves_the_store_usable(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        with pytest.raises(UnicodeEncodeError):
            await store.write_fold("p", [lane("a", A, lane_seq=1), lane("\ud800", A, lane_seq=1)])
        await store.write_fold("p", [lane("b", A, lane_seq=1)])
        assert await gather(store.read_fold("p")) == [lane("b", A, lane_seq=1)]


async def test_closing_completes_what_waits_and_refuses_what_comes_later(path: Path) -> None:
    store = await SqliteStore.aopen(path)
    async with trio.open_nursery() as nursery:
        for seq in range(1, 30):
            nursery.start_soon(store.append, [row(A, seq)])
        await trio.testing.wait_all_tasks_blocked()
        await store.aclose()
        await store.aclose()
    with pytest.raises(JournalFull, match="closed"):
        await store.append([row(B, 1)])
    with pytest.raises(JournalError, match="closed"):
        await gather(store.replay(after={}))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.log_projects()
    assert len(await stored(path)) == 29
