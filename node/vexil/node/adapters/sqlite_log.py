"""The log in the SQLite file: one row per change, in the order of appending, found by incarnation and seq.

Writing and reading have a connection each and therefore a class each; both keep the small numbers that stand for
``(project, incarnation)``. All functions block and run in the store's worker threads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Final
from zlib import crc32

from vexil.node.causal_order import Causes, PlacedRecord, in_causal_order
from vexil.node.seams import HistoryRow, LogRecord

REPLAY_ROWS_MAX: Final = 1_000
"""Rows of one batch of a replay."""
REPLAY_BYTES_MAX: Final = 4 << 20
"""Raw bytes after which a batch of a replay ends."""
CHANGES_ROWS_MAX: Final = 20_000
"""Rows of one answer of ``read_changes``, whatever the bytes asked for."""
HISTORY_ROWS_MAX: Final = 1_000
TRIM_ROWS: Final = 2_000
"""Rows that one transaction of a trim takes out: an append waits for at most so many."""
SEQ_MAX: Final = (1 << 62) - 1
DAMAGED_POSITIONS_MAX: Final = 10_000
"""Damaged rows that are counted; the count stops there."""

# Reads cast ``raw``: a damaged row may claim to be a text, and the driver must not fail on it.
_INCARNATION_BYTES: Final = 8
_CHECKSUM_BITS: Final = 0xFFFFFFFF

# Equal bytes, not an equal hash, make a row a repetition: a fork must never be taken for one.
_INSERT = """
    WITH fresh (project, stream, seq, checksum, raw) AS (VALUES (?, ?, ?, ?, ?))
    INSERT INTO log (project, stream, seq, checksum, raw) SELECT * FROM fresh
    WHERE NOT EXISTS (SELECT 1 FROM log WHERE (stream, seq, raw, checksum) =
        (fresh.stream, fresh.seq, fresh.raw, fresh.checksum))
"""


_INSERT_PAST = """
    WITH past (project, stream, seq, checksum, raw) AS (VALUES (?, ?, ?, ?, ?))
    INSERT INTO log (position, project, stream, seq, checksum, raw)
    SELECT (SELECT coalesce(min(position), 1) - 1 FROM log), * FROM past
    WHERE NOT EXISTS (SELECT 1 FROM log WHERE (stream, seq, raw, checksum) =
        (past.stream, past.seq, past.raw, past.checksum))
"""
_TRIM = """
    DELETE FROM log WHERE position IN (
        SELECT position FROM log INDEXED BY log_dot WHERE stream = ? AND seq <= ? ORDER BY seq LIMIT ?)
"""
_CURSOR_DIGITS_MAX: Final = 18
_PAST_CURSOR: Final = "p"
"""Opens the cursor of a negative position: a sign is no part of one."""


def cursor_of(position: int) -> str:
    """The history cursor that continues behind the row at ``position``."""
    return str(position) if position >= 0 else f"{_PAST_CURSOR}{-position}"


def position_of(cursor: str) -> int:
    """The inverse of `cursor_of`. Raises ValueError for a text that is no cursor."""
    digits = cursor.removeprefix(_PAST_CURSOR)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _CURSOR_DIGITS_MAX):
        raise ValueError(f"not a cursor: {cursor[:40]!r}")
    return int(digits) if digits == cursor else -int(digits)


def pack_incarnation(incarnation: int) -> bytes:
    """Eight bytes whose order is the numbers' order."""
    return incarnation.to_bytes(_INCARNATION_BYTES, "big")


def checksum(record: LogRecord) -> int:
    """CRC-32 of the raw bytes, started with the dot, so that a row under a wrong dot shows as damaged too."""
    return crc32(record.raw, (record.incarnation ^ record.seq) & _CHECKSUM_BITS)


class LogWriter:
    """Inserts rows on the writing connection, inside a transaction that the caller owns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._streams: dict[tuple[str, int], tuple[int, int]] = {}

    def forget(self) -> None:
        """To be called after a rollback: numbers given in that transaction are void."""
        self._streams.clear()

    def insert(self, records: Sequence[LogRecord]) -> None:
        """Add the rows that are not there yet, in this order."""
        self._connection.executemany(
            _INSERT, [(*self._stream(r.project, r.incarnation), r.seq, checksum(r), r.raw) for r in records]
        )

    def insert_past(self, records: Sequence[LogRecord]) -> None:
        """Add the rows that are not there yet, each below every row that is there."""
        self._connection.executemany(
            _INSERT_PAST,
            [(*self._stream(r.project, r.incarnation), r.seq, checksum(r), r.raw) for r in records],
        )

    def trim(self, wanted: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        """Take out rows, `TRIM_ROWS` at most, and return what is still to do: ``(stream, last seq that goes)``.

        The oldest first: what is left of an incarnation has no gap.
        """
        left = TRIM_ROWS
        for place, (stream, through) in enumerate(wanted):
            left -= self._connection.execute(_TRIM, (stream, through, left)).rowcount
            if left <= 0:
                return wanted[place:]
        return ()

    def contains(self, records: Sequence[LogRecord]) -> bool:
        """Whether every record is there, byte for byte."""
        sql = """SELECT 1 FROM log JOIN stream ON stream.id = log.stream JOIN project ON project.id = stream.project
            WHERE name = ? AND incarnation = ? AND seq = ? AND raw = ? LIMIT 1"""
        for r in records:
            row = (r.project, pack_incarnation(r.incarnation), r.seq, r.raw)
            if self._connection.execute(sql, row).fetchone() is None:
                return False
        return True

    def _stream(self, project: str, incarnation: int) -> tuple[int, int]:
        known = self._streams.get((project, incarnation))
        if known is None:
            number = project_number(self._connection, project)
            key = (number, pack_incarnation(incarnation))
            self._connection.execute("INSERT OR IGNORE INTO stream (project, incarnation) VALUES (?, ?)", key)
            row = self._connection.execute("SELECT id FROM stream WHERE project = ? AND incarnation = ?", key)
            known = self._streams[project, incarnation] = (number, row.fetchone()[0])
        return known


def project_number(connection: sqlite3.Connection, project: str) -> int:
    """The number that stands for ``project``, given now if it has none."""
    connection.execute("INSERT OR IGNORE INTO project (name) VALUES (?)", (project,))
    number = connection.execute("SELECT id FROM project WHERE name = ?", (project,)).fetchone()[0]
    assert isinstance(number, int)
    return number


class LogReader:
    """Reads rows on the reading connection; a row whose checksum is wrong is left out and counted."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names: dict[int, tuple[str, int]] = {}
        self._damaged: set[int] = set()

    @property
    def damaged(self) -> int:
        """How many damaged rows were met, each counted once."""
        return len(self._damaged)

    def before_uncovered(self, after: Mapping[str, Mapping[int, int]]) -> int | None:
        """The position before the first row that ``after`` does not cover; None if it covers every row."""
        first: int | None = None
        # By the index, whatever the planner thinks of a minimum of row ids: else each stream reads the whole log.
        sql = "SELECT min(position) FROM log INDEXED BY log_dot WHERE stream = ? AND seq > ?"
        for (stream,) in self._connection.execute("SELECT id FROM stream").fetchall():
            project, incarnation = self._name(stream)
            low = after.get(project, {}).get(incarnation, 0)
            (position,) = self._connection.execute(sql, (stream, low)).fetchone()
            if position is not None and (first is None or position < first):
                first = position
        return None if first is None else first - 1

    def batch(self, behind: int) -> tuple[Sequence[LogRecord], int | None]:
        """Sound rows behind a position, in order of appending, and the position to go on behind (None: the end)."""
        sql = """SELECT position, stream, seq, checksum, CAST(raw AS BLOB) FROM log
            WHERE position > ? ORDER BY position LIMIT ?"""
        records: list[LogRecord] = []
        size = 0
        last: int | None = None
        with closing(self._connection.execute(sql, (behind, REPLAY_ROWS_MAX))) as rows:
            for position, stream, seq, check, raw in rows:
                last = position
                record = self._sound(position, *self._name(stream), seq, check, raw)
                if record is not None:
                    records.append(record)
                    size += len(record.raw)
                    if size >= REPLAY_BYTES_MAX:
                        break
        return records, last

    def changes(
        self,
        project: str,
        after: Mapping[int, int],
        through: Mapping[int, int],
        limit_bytes: int,
        causes: Causes,
    ) -> Sequence[LogRecord]:
        """What ``Store.read_changes`` says. Only rows of the answer are read, and one more per incarnation."""
        sql = """SELECT stream.id, incarnation FROM stream JOIN project ON project.id = stream.project
            WHERE name = ?"""
        wanted = []
        for stream, packed in self._connection.execute(sql, (project,)).fetchall():
            incarnation = int.from_bytes(packed, "big")
            low, high = after.get(incarnation, 0), through.get(incarnation, 0)
            if high > low:
                wanted.append((stream, incarnation, low, high))
        page: list[LogRecord] = []
        size = 0
        with ExitStack() as open_cursors:
            streams = {
                incarnation: self._stream(open_cursors, project, stream, incarnation, low, high)
                for stream, incarnation, low, high in wanted
            }
            for record in in_causal_order(streams, after=after, causes=causes):
                size += len(record.raw)
                if page and size > limit_bytes:
                    break
                page.append(record)
                if len(page) >= CHANGES_ROWS_MAX:
                    break
        return page

    def history(self, project: str, before: int | None, limit: int) -> Sequence[HistoryRow]:
        """Sound rows of a project with a position below ``before``, highest first."""
        sql = """SELECT position, stream, seq, checksum, CAST(raw AS BLOB) FROM log
            WHERE project = (SELECT id FROM project WHERE name = ?) AND position < ? ORDER BY position DESC"""
        found: list[HistoryRow] = []
        limit = min(limit, HISTORY_ROWS_MAX)
        if limit <= 0:
            return found
        top = (1 << 63) - 1 if before is None else before
        with closing(self._connection.execute(sql, (project, top))) as rows:
            for position, stream, seq, check, raw in rows:
                record = self._sound(position, *self._name(stream), seq, check, raw)
                if record is not None:
                    found.append(HistoryRow(cursor_of(position), record.raw))
                    if len(found) >= limit:
                        break
        return found

    def projects(self) -> Sequence[str]:
        """Names of the projects that have a row, ascending."""
        sql = """SELECT name FROM project WHERE EXISTS (SELECT 1 FROM log WHERE log.project = project.id)
            ORDER BY name"""
        return [name for (name,) in self._connection.execute(sql)]

    def start(self, project: str) -> dict[int, int]:
        """Per incarnation of the project that has a row: the seq before its first one."""
        return {incarnation: first - 1 for _, incarnation, first in self._firsts(project)}

    def below(self, project: str, through: Mapping[int, int]) -> Sequence[tuple[int, int]]:
        """The streams that have a row with a seq of at most ``through``, each with its part of ``through``."""
        return [
            (stream, min(through[incarnation], SEQ_MAX))
            for stream, incarnation, first in self._firsts(project)
            if first <= through.get(incarnation, 0)
        ]

    def _firsts(self, project: str) -> Iterator[tuple[int, int, int]]:
        sql = """SELECT stream.id, incarnation FROM stream JOIN project ON project.id = stream.project
            WHERE name = ?"""
        first = "SELECT min(seq) FROM log INDEXED BY log_dot WHERE stream = ?"
        for stream, packed in self._connection.execute(sql, (project,)).fetchall():
            (seq,) = self._connection.execute(first, (stream,)).fetchone()
            if seq is not None:
                yield stream, int.from_bytes(packed, "big"), seq

    def _stream(
        self, open_cursors: ExitStack, project: str, stream: int, incarnation: int, low: int, high: int
    ) -> Iterator[PlacedRecord]:
        sql = """SELECT position, seq, checksum, CAST(raw AS BLOB) FROM log
            WHERE stream = ? AND seq > ? AND seq <= ? ORDER BY seq, position"""
        cursor = open_cursors.enter_context(closing(self._connection.execute(sql, (stream, low, high))))
        for position, seq, check, raw in cursor:
            record = self._sound(position, project, incarnation, seq, check, raw)
            if record is not None:
                yield PlacedRecord(position, record)

    def _name(self, stream: int) -> tuple[str, int]:
        known = self._names.get(stream)
        if known is None:
            sql = """SELECT name, incarnation FROM stream JOIN project ON project.id = stream.project
                WHERE stream.id = ?"""
            row = self._connection.execute(sql, (stream,)).fetchone()
            if row is None:
                # Only in a file that was tampered with: such a row fits no checksum below.
                return ("", 0)
            known = self._names[stream] = (row[0], int.from_bytes(row[1], "big"))
        return known

    def _sound(
        self, position: int, project: str, incarnation: int, seq: int, check: int, raw: bytes
    ) -> LogRecord | None:
        if type(raw) is bytes and type(seq) is int and incarnation:
            record = LogRecord(project, incarnation, seq, raw)
            if checksum(record) == check:
                return record
        if len(self._damaged) < DAMAGED_POSITIONS_MAX:
            self._damaged.add(position)
        return None
