"""A file of an older version is taken over whole, whenever the process that does it is killed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from tests.contract.rows import A, B, C, causes_of_row, gather, lane, row
from vexil.crdt.garbage import FoldRemoval
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.adapters.sqlite_log import checksum, pack_incarnation
from vexil.node.adapters.sqlite_migrations import SCHEMA_VERSION
from vexil.node.seams import FoldEntry, JournalError, LogRecord, MemberRow

# As version 1 made them; never to be changed.
TABLES_OF_VERSION_1 = """
    CREATE TABLE schema (version INTEGER NOT NULL);
    CREATE TABLE project (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE stream (
        id INTEGER PRIMARY KEY, project INTEGER NOT NULL, incarnation BLOB NOT NULL, UNIQUE (project, incarnation)
    );
    CREATE TABLE log (
        position INTEGER PRIMARY KEY, project INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
        checksum INTEGER NOT NULL, raw BLOB NOT NULL
    );
    CREATE INDEX log_dot ON log (stream, seq);
    CREATE INDEX log_project ON log (project);
    CREATE TABLE fold (
        project INTEGER NOT NULL, object TEXT NOT NULL, generation BLOB NOT NULL, field TEXT NOT NULL,
        incarnation BLOB NOT NULL, entry BLOB NOT NULL, lane_seq INTEGER NOT NULL, seen_seq INTEGER NOT NULL,
        PRIMARY KEY (project, object, generation, field, incarnation)
    ) WITHOUT ROWID;
    CREATE TABLE member (
        slot TEXT PRIMARY KEY, start INTEGER NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE aside (
        id INTEGER PRIMARY KEY, digest BLOB NOT NULL, project TEXT NOT NULL, reason TEXT NOT NULL,
        sender TEXT NOT NULL, size INTEGER NOT NULL, raw BLOB NOT NULL, UNIQUE (digest, project)
    );
    CREATE INDEX aside_size ON aside (size);
    INSERT INTO schema VALUES (1);
    INSERT INTO project VALUES (1, 'p'), (2, 'q');
"""
VV = {"p": {A: 3}, "q": {C: 2}}
HEADERS = {"p": b"header of p", "q": b"header of q"}


def fold_of(project: str) -> list[FoldEntry]:
    return [
        lane(f"{project}/{n:04}", incarnation, lane_seq=n + 1, seen_seq=n, generation=(B, n + 1))
        for n in range(700)
        for incarnation in (A, C)
    ]


def log_of(project: str) -> list[LogRecord]:
    return [row(incarnation, seq, project=project) for seq in (1, 2, 3) for incarnation in (A, C)]


def make_version_1(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(TABLES_OF_VERSION_1)
        streams: dict[tuple[int, int], int] = {}
        for number, project in ((1, "p"), (2, "q")):
            for record in log_of(project):
                key = (number, record.incarnation)
                if key not in streams:
                    streams[key] = len(streams) + 1
                    stream = (streams[key], number, pack_incarnation(record.incarnation))
                    connection.execute("INSERT INTO stream VALUES (?, ?, ?)", stream)
                connection.execute(
                    "INSERT INTO log (project, stream, seq, checksum, raw) VALUES (?, ?, ?, ?, ?)",
                    (number, streams[key], record.seq, checksum(record), record.raw),
                )
            for entry in fold_of(project):
                generation = b"".join(map(pack_incarnation, entry.generation))
                values = (
                    number, entry.object, generation, entry.field, pack_incarnation(entry.incarnation), *entry[4:],
                )  # fmt: skip
                connection.execute("INSERT INTO fold VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        body = msgpack.packb((B, 0, VV, HEADERS))
        connection.execute("INSERT INTO member VALUES ('eu-1', 4, 17, ?)", (body,))


async def check_all_is_there(path: Path) -> None:
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        assert await gather(store.replay(after={})) == [*log_of("p"), *log_of("q")]
        assert await gather(store.read_fold("p")) == fold_of("p")
        assert await gather(store.read_fold("q")) == fold_of("q")
        assert await store.fold_checkpoints() == {"p": [0], "q": [0]}
        assert await store.read_member("eu-1") == MemberRow("eu-1", 4, 17, B, vv=VV, fold=HEADERS)


async def test_a_file_of_version_1_is_taken_over_whole_and_serves_what_version_2_adds(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    make_version_1(path)
    for _ in range(2):
        await check_all_is_there(path)
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        entries = fold_of("p")
        await store.collect_fold("p", [FoldRemoval(*entries[0][:4], 1)])
        await store.write_fold("p", entries[:5], checkpoint=9)
        await store.write_past("q", [row(B, 1, project="q")])
        new = MemberRow("eu-1", 5, 1, A, checkpoint={"p": 9}, registration="ab", vv=VV, fold=HEADERS)
        await store.write_member(new)
    async with SqliteStore.open(path, causes=causes_of_row) as store:
        assert await gather(store.read_fold("p")) == entries[1:]
        assert await gather(store.read_fold("p", checkpoint=9)) == entries[:5]
        assert (await store.read_history("q", before=None, limit=99))[-1].raw == row(B, 1, project="q").raw
        assert await store.read_member("eu-1") == new
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version FROM schema").fetchall() == [(SCHEMA_VERSION,)]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def tracing(trace: Callable[[], None]) -> Callable[[Path], sqlite3.Connection]:
    def connect(file: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        connection.set_trace_callback(lambda _statement: trace())
        return connection

    return connect


async def test_a_process_that_is_killed_between_any_two_steps_leaves_a_file_for_the_next(
    tmp_path: Path,
) -> None:
    path = tmp_path / "node.sqlite"
    make_version_1(path)
    copies: list[Path] = []

    def copy() -> None:
        folder = tmp_path / str(len(copies))
        folder.mkdir()
        for name in (path.name, f"{path.name}-wal"):
            if (path.parent / name).exists():
                (folder / name).write_bytes((path.parent / name).read_bytes())
        copies.append(folder)

    async with SqliteStore.open(path, connect=tracing(copy)):
        pass
    assert len(copies) > 10
    for folder in copies:
        await check_all_is_there(folder / path.name)


async def test_a_disk_that_is_too_full_for_it_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    make_version_1(path)

    def connect(file: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        return connection

    with pytest.raises(JournalError, match="full"):
        await SqliteStore.aopen(path, connect=connect)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version FROM schema").fetchall() == [(1,)]
    await check_all_is_there(path)
