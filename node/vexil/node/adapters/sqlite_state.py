"""Member rows and refused changes in the SQLite file. All functions block; a caller owns the transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgpack

from vexil.node.seams import AsideRecord, MemberRow

ASIDE_LIMIT: Final = 10_000
"""Records that are kept aside."""
ASIDE_BYTES_MAX: Final = 64 << 20
"""Raw bytes that are kept aside together; the newest record is kept whatever its size."""

_DIGEST_BYTES: Final = 16
_FIELDS_OF_VERSION_1: Final = ("incarnation", "_", "vv", "fold", "forked", "hlc")
"""A body was an array then, at first without the last two, and the number in its second place always 0."""

_PRUNE_ASIDE = """
    DELETE FROM aside WHERE id IN (
        SELECT id FROM (SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS total FROM aside
                        WINDOW newest AS (ORDER BY id DESC))
        WHERE place > ? OR (total > ? AND place > 1))
"""


def write_member(connection: sqlite3.Connection, row: MemberRow) -> None:
    """Write a slot's row unless one with the same or a higher (start, revision) is there."""
    body = msgpack.packb(
        {
            "incarnation": row.incarnation,
            "checkpoint": row.checkpoint,
            "registration": row.registration,
            "vv": row.vv,
            "fold": row.fold,
            "forked": row.forked,
            "hlc": row.hlc,
        }
    )
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
        body = msgpack.unpackb(row[2], strict_map_key=False)
        if isinstance(body, list):
            body = dict(zip(_FIELDS_OF_VERSION_1, body, strict=False))
        return MemberRow(
            slot,
            row[0],
            row[1],
            body["incarnation"],
            checkpoint=body.get("checkpoint", {}),
            registration=body.get("registration", ""),
            vv=body["vv"],
            fold=body["fold"],
            forked=tuple(body.get("forked", ())),
            hlc=int(body.get("hlc", 0)),
        )
    except Exception as error:
        # msgpack raises a dozen types on junk; all mean the same here.
        raise ValueError(f"the member row of {slot} is damaged: {error}") from error


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
