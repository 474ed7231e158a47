"""The one SQLite file of a node: how it is opened, its tables and their version, and what its errors mean.

The file is in WAL mode with ``synchronous=FULL``: a transaction is on the disk when COMMIT returns, and a torn tail of
the WAL is dropped by SQLite itself when the file is opened next. Nothing here leans on the process ending well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from vexil.node.adapters.sqlite_migrations import FOLD_TABLE, SCHEMA_VERSION, migrate
from vexil.node.seams import JournalError

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a write waits for another process (a backup, an operator's shell) to let go of the file."""
CHECKPOINT_PAGES: Final = 4_000
"""The WAL is copied into the file when it is this long: about 16 MiB."""
WAL_BYTES_KEPT_MAX: Final = 64 << 20
"""A WAL that grew beyond this under a slow reader is cut back at the next checkpoint."""
CACHE_KIB: Final = 16 << 10

Connect = Callable[[Path], sqlite3.Connection]
"""Opens a connection with manual transactions that may be used from any one thread at a time."""

# Incarnations are unsigned 64 bit and SQLite's integers are signed: they are kept as eight bytes, big-endian, so that
# byte order is number order; a generation is sixteen. Names occur once per project and once per incarnation.
_TABLES: Final = (
    "CREATE TABLE schema (version INTEGER NOT NULL)",
    "CREATE TABLE project (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE stream (
        id INTEGER PRIMARY KEY, project INTEGER NOT NULL, incarnation BLOB NOT NULL, UNIQUE (project, incarnation)
    )""",
    # position: the order of appending; what is older than all that was here (``write_past``) goes below, down into the
    # negative numbers. A dot may occur twice, with other bytes: a
    # fork is kept, not decided.
    """CREATE TABLE log (
        position INTEGER PRIMARY KEY, project INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
        checksum INTEGER NOT NULL, raw BLOB NOT NULL
    )""",
    "CREATE INDEX log_dot ON log (stream, seq)",
    "CREATE INDEX log_project ON log (project)",
    FOLD_TABLE,
    """CREATE TABLE member (
        slot TEXT PRIMARY KEY, start INTEGER NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE aside (
        id INTEGER PRIMARY KEY, digest BLOB NOT NULL, project TEXT NOT NULL, reason TEXT NOT NULL,
        sender TEXT NOT NULL, size INTEGER NOT NULL, raw BLOB NOT NULL, UNIQUE (digest, project)
    )""",
    "CREATE INDEX aside_size ON aside (size)",  # to count and add up without reading the changes
)

_PRIMARY_CODE = 0xFF
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def connect(path: Path) -> sqlite3.Connection:
    """A connection as ``Connect`` asks for, made with the standard library. Raises sqlite3.Error."""
    return sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )


def explain(path: Path, error: sqlite3.Error) -> str:
    """One line for a person: the file, what SQLite says, its name for it."""
    name = getattr(error, "sqlite_errorname", "")
    damaged = " The file is damaged." if is_damage(error) else ""
    return f"{path}: {error}{f' ({name})' if name else ''}.{damaged}"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, rather than the disk full or the file busy."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE in _DAMAGED


def open_writer(path: Path, connect: Connect) -> sqlite3.Connection:
    """The connection that writes; tables are made in a new file, and another version's file is refused.

    Raises JournalError naming the file: it cannot be opened, is damaged, is not Vexil's, or is of a newer version.
    """
    try:
        connection = connect(path)
    except sqlite3.Error as error:
        raise JournalError(explain(path, error)) from error
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise JournalError(f"{path}: the file system does not allow a write-ahead log (mode {mode}).")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT_MAX}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        _make_or_check_tables(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise JournalError(explain(path, error)) from error
    except JournalError:
        connection.close()
        raise
    return connection


def open_reader(path: Path, connect: Connect) -> sqlite3.Connection:
    """A connection that only reads and never waits for the writer. Raises JournalError."""
    try:
        connection = connect(path)
    except sqlite3.Error as error:
        raise JournalError(explain(path, error)) from error
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except sqlite3.Error as error:
        connection.close()
        raise JournalError(explain(path, error)) from error
    return connection


def _make_or_check_tables(connection: sqlite3.Connection, path: Path) -> None:
    # One transaction: a crash leaves an empty file or a whole schema.
    connection.execute("BEGIN IMMEDIATE")
    with closing(connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")) as rows:
        names = {name for (name,) in rows}
    if not names:
        for table in _TABLES:
            connection.execute(table)
        connection.execute("INSERT INTO schema (version) VALUES (?)", (SCHEMA_VERSION,))
    elif not {"schema", "log", "fold"} <= names:
        raise JournalError(f"{path}: is a SQLite file, but not one of Vexil's.")
    else:
        row = connection.execute("SELECT max(version) FROM schema").fetchone()
        if row[0] is None or row[0] > SCHEMA_VERSION:
            raise JournalError(
                f"{path}: was written by a newer Vexil (schema {row[0]}; this one knows up to {SCHEMA_VERSION})."
            )
        migrate(connection, row[0])
    connection.execute("COMMIT")
