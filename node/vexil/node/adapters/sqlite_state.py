"""Fold, member rows and refused changes in the SQLite file. All functions block; a caller owns the transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgpack

from vexil.node.adapters.sqlite_log import pack_incarnation, project_number
from vexil.node.seams import AsideRecord, FoldEntry, MemberRow

FOLD_BATCH_ROWS: Final = 2_000
"""Entries of one batch of ``read_fold``; a batch may end inside an object."""
ASIDE_LIMIT: Final = 10_000
"""Records that are kept aside."""
ASIDE_BYTES_MAX: Final = 64 << 20
"""Raw bytes that are kept aside together; the newest record is kept whatever its size."""

_INCARNATION_BYTES: Final = 8
_DIGEST_BYTES: Final = 16

FoldKey = tuple[str, bytes, str, bytes]
FOLD_START: Final[FoldKey] = ("", b"", "", b"")
"""Below every key."""

# The order of vexil.node.fold_order.precedence; max() with two arguments is SQLite's scalar function.
_UPSERT = """
    INSERT INTO fold VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET entry = excluded.entry, lane_seq = excluded.lane_seq, seen_seq = excluded.seen_seq
    WHERE (max(excluded.lane_seq, excluded.seen_seq), excluded.seen_seq, excluded.lane_seq, excluded.entry)
        > (max(fold.lane_seq, fold.seen_seq), fold.seen_seq, fold.lane_seq, fold.entry)
"""
_READ = """
    SELECT object, generation, field, incarnation, entry, lane_seq, seen_seq FROM fold
    WHERE project = (SELECT id FROM project WHERE name = ?) AND (object, generation, field, incarnation) > (?, ?, ?, ?)
    ORDER BY object, generation, field, incarnation LIMIT ?
"""
_PRUNE_ASIDE = """
    DELETE FROM aside WHERE id IN (
        SELECT id FROM (SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS total FROM aside
                        WINDOW newest AS (ORDER BY id DESC))
        WHERE place > ? OR (total > ? AND place > 1))
"""


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


def write_fold(connection: sqlite3.Connection, project: str, entries: Sequence[FoldEntry]) -> None:
    """Upsert entries; the one of higher precedence stays."""
    number = project_number(connection, project)
    packed: dict[tuple[int, int], bytes] = {}
    rows = []
    for name, generation, field, incarnation, entry, lane_seq, seen_seq in entries:
        key = packed.get(generation)
        if key is None:
            key = packed[generation] = _pack_dot(generation)
        rows.append((number, name, key, field, pack_incarnation(incarnation), entry, lane_seq, seen_seq))
    connection.executemany(_UPSERT, rows)


def read_fold(
    connection: sqlite3.Connection, project: str, behind: FoldKey
) -> tuple[Sequence[FoldEntry], FoldKey | None]:
    """One batch of entries above a key, ascending, and the key to go on behind (None: the end)."""
    incarnations, generations = _Incarnations(), _Generations()
    make = FoldEntry._make
    rows = connection.execute(_READ, (project, *behind, FOLD_BATCH_ROWS))
    batch = [make((o, generations[g], f, incarnations[i], e, ls, ss)) for o, g, f, i, e, ls, ss in rows]
    if len(batch) < FOLD_BATCH_ROWS:
        return batch, None
    last = batch[-1]
    return batch, (last.object, _pack_dot(last.generation), last.field, pack_incarnation(last.incarnation))


def _pack_dot(dot: tuple[int, int]) -> bytes:
    return pack_incarnation(dot[0]) + pack_incarnation(dot[1])


def write_member(connection: sqlite3.Connection, row: MemberRow) -> None:
    """Write a slot's row unless one with the same or a higher (start, revision) is there."""
    body = msgpack.packb((row.incarnation, row.checkpoint, row.vv, row.fold, row.forked, row.hlc))
    connection.execute(
        """INSERT INTO member VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET start = excluded.start, revision = excluded.revision, body = excluded.body
        WHERE (excluded.start, excluded.revision) > (member.start, member.revision)""",
        (row.slot, row.start, row.revision, body),
    )


def read_member(connection: sqlite3.Connection, slot: str) -> MemberRow | None:
    """The slot's row. Raises ValueError if its body is damaged."""
    row = connection.execute("SELECT start, revision, body FROM member WHERE slot = ?", (slot,)).fetchone()
    if row is None:
        return None
    try:
        incarnation, checkpoint, vv, fold, *later = msgpack.unpackb(row[2], strict_map_key=False)
        # An earlier version's row ends here. What a later one may have added is passed over.
        forked = tuple(later[0]) if later else ()
        hlc = int(later[1]) if len(later) > 1 else 0
    except Exception as error:
        # msgpack raises a dozen types on junk; all mean the same here.
        raise ValueError(f"the member row of {slot} is damaged: {error}") from error
    return MemberRow(slot, row[0], row[1], incarnation, checkpoint, vv, fold, forked, hlc)


def put_aside(connection: sqlite3.Connection, record: AsideRecord, *, limit: int) -> None:
    """Keep a refused change once, however often and from whomever it comes: the first report stays.

    Beyond ``limit`` records or ``ASIDE_BYTES_MAX`` the oldest go.
    """
    digest = blake2b(record.raw, digest_size=_DIGEST_BYTES).digest()
    connection.execute(
        "INSERT OR IGNORE INTO aside (digest, project, reason, sender, size, raw) VALUES (?, ?, ?, ?, ?, ?)",
        (digest, record.project, record.reason, record.sender, len(record.raw), record.raw),
    )
    count, size = connection.execute("SELECT count(*), sum(size) FROM aside").fetchone()
    if count > limit or size > ASIDE_BYTES_MAX:
        connection.execute(_PRUNE_ASIDE, (limit, ASIDE_BYTES_MAX))


def read_aside(connection: sqlite3.Connection) -> Sequence[AsideRecord]:
    """What was put aside, oldest first."""
    sql = "SELECT project, reason, sender, raw FROM aside ORDER BY id"
    return [AsideRecord(*row) for row in connection.execute(sql)]
