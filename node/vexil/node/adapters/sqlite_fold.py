"""The stored folds in the SQLite file: one row per incarnation's part of a cell, under project and checkpoint.

All functions block. Those that write are called inside a transaction that the caller owns, with a bounded number of
rows. Where the seam says "a timestamp per column", `vexil.node.fold_order` says what stands in for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from vexil.crdt.garbage import FoldRemoval
from vexil.node.adapters.sqlite_log import pack_incarnation, project_number
from vexil.node.fold_order import without
from vexil.node.seams import FoldEntry

FOLD_BATCH_ROWS: Final = 2_000
"""Entries of one batch of ``read_fold``; a batch may end inside an object."""
FOLD_CHUNK_ROWS: Final = 2_000
"""Rows of one fold transaction: an append waits for at most so many (some ten milliseconds)."""


_INCARNATION_BYTES: Final = 8

FoldKey = tuple[str, bytes, str, bytes]
FOLD_START: Final[FoldKey] = ("", b"", "", b"")
"""Below every key."""

# The order of vexil.node.fold_order.precedence; max() with two arguments is SQLite's scalar function.
_UPSERT = """
    INSERT INTO fold VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET entry = excluded.entry, lane_seq = excluded.lane_seq, seen_seq = excluded.seen_seq
    WHERE (max(excluded.lane_seq, excluded.seen_seq), excluded.seen_seq, excluded.lane_seq, excluded.entry)
        > (max(fold.lane_seq, fold.seen_seq), fold.seen_seq, fold.lane_seq, fold.entry)
"""
_READ = """
    SELECT object, generation, field, incarnation, entry, lane_seq, seen_seq FROM fold
    WHERE project = (SELECT id FROM project WHERE name = ?) AND checkpoint = ?
        AND (object, generation, field, incarnation) > (?, ?, ?, ?)
    ORDER BY object, generation, field, incarnation LIMIT ?
"""
_ROW = "project = ? AND checkpoint = ? AND object = ? AND generation = ? AND field = ? AND incarnation = ?"
_SELECT = f"SELECT entry, lane_seq, seen_seq FROM fold WHERE {_ROW}"  # noqa: S608 - the text above
_DELETE = f"DELETE FROM fold WHERE {_ROW}"  # noqa: S608 - the text above
_UPDATE = f"UPDATE fold SET entry = ?, lane_seq = ?, seen_seq = ? WHERE {_ROW}"  # noqa: S608 - the text above
_LAST_OF_SLICE = """
    SELECT object, generation, field, incarnation FROM fold WHERE project = ? AND checkpoint = ?
    ORDER BY object, generation, field, incarnation LIMIT 1 OFFSET ?
"""
_DROP = "DELETE FROM fold WHERE project = ? AND checkpoint = ?"
_DROP_SLICE = f"{_DROP} AND (object, generation, field, incarnation) <= (?, ?, ?, ?)"


class _Incarnations(dict[bytes, int]):
    """Packed -> number. There are few and they recur in every entry: a look-up is cheaper than to decode."""

    def __missing__(self, packed: bytes) -> int:
        number = self[packed] = int.from_bytes(packed, "big")
        return number


class _Generations(dict[bytes, tuple[int, int]]):
    """Packed -> dot; one tuple is shared by all entries of a flag."""

    def __missing__(self, packed: bytes) -> tuple[int, int]:
        half = _INCARNATION_BYTES
        dot = self[packed] = (int.from_bytes(packed[:half], "big"), int.from_bytes(packed[half:], "big"))
        return dot


def write(
    connection: sqlite3.Connection, project: str, checkpoint: int, entries: Sequence[FoldEntry]
) -> None:
    """Upsert entries; the one of higher precedence stays."""
    number = project_number(connection, project)
    packed: dict[tuple[int, int], bytes] = {}
    rows = []
    for name, generation, field, incarnation, entry, lane_seq, seen_seq in entries:
        key = packed.get(generation)
        if key is None:
            key = packed[generation] = _pack_dot(generation)
        rows.append(
            (number, checkpoint, name, key, field, pack_incarnation(incarnation), entry, lane_seq, seen_seq)
        )
    connection.executemany(_UPSERT, rows)


def read(
    connection: sqlite3.Connection, project: str, checkpoint: int, behind: FoldKey
) -> tuple[Sequence[FoldEntry], FoldKey | None]:
    """One batch of entries above a key, ascending, and the key to go on behind (None: the end)."""
    incarnations, generations = _Incarnations(), _Generations()
    make = FoldEntry._make
    rows = connection.execute(_READ, (project, checkpoint, *behind, FOLD_BATCH_ROWS))
    batch = [make((o, generations[g], f, incarnations[i], e, ls, ss)) for o, g, f, i, e, ls, ss in rows]
    if len(batch) < FOLD_BATCH_ROWS:
        return batch, None
    last = batch[-1]
    return batch, (last.object, _pack_dot(last.generation), last.field, pack_incarnation(last.incarnation))


def collect(
    connection: sqlite3.Connection, project: str, checkpoint: int, removals: Sequence[FoldRemoval]
) -> None:
    """Take out of each named row what is not above the removal's timestamp; the row too, if that is all of it."""
    number = project_number(connection, project)
    for removal in removals:
        row = (
            number,
            checkpoint,
            removal.object,
            _pack_dot(removal.generation),
            removal.field,
            pack_incarnation(removal.incarnation),
        )
        found = connection.execute(_SELECT, row).fetchone()
        if found is None:
            continue
        entry = FoldEntry(*removal[:4], *found)
        kept = without(entry, removal.timestamp)
        if kept is None:
            connection.execute(_DELETE, row)
        elif kept is not entry:
            connection.execute(_UPDATE, (kept.entry, kept.lane_seq, kept.seen_seq, *row))


def checkpoints(connection: sqlite3.Connection) -> Mapping[str, Sequence[int]]:
    """Per project, ascending: the checkpoints that have a row. One search of the index for each."""
    found: dict[str, list[int]] = {}
    sql = "SELECT min(checkpoint) FROM fold WHERE project = ? AND checkpoint > ?"
    for number, name in connection.execute("SELECT id, name FROM project").fetchall():
        (checkpoint,) = connection.execute(sql, (number, -1)).fetchone()
        while checkpoint is not None:
            found.setdefault(name, []).append(checkpoint)
            (checkpoint,) = connection.execute(sql, (number, checkpoint)).fetchone()
    return found


def drop(connection: sqlite3.Connection, project: str, checkpoint: int) -> bool:
    """Take out up to `FOLD_CHUNK_ROWS` rows of a checkpoint; whether there may be more."""
    fold = (project_number(connection, project), checkpoint)
    last = connection.execute(_LAST_OF_SLICE, (*fold, FOLD_CHUNK_ROWS - 1)).fetchone()
    if last is None:
        connection.execute(_DROP, fold)
        return False
    connection.execute(_DROP_SLICE, (*fold, *last))
    return True


def _pack_dot(dot: tuple[int, int]) -> bytes:
    return pack_incarnation(dot[0]) + pack_incarnation(dot[1])
