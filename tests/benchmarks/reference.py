"""What this machine does without Vexil: the scale beside which every other number is read."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from pathlib import Path

import msgpack

DECODES = 200_000
INSERTS = 2_000


def main() -> None:
    """Print the two reference loops."""
    raw = msgpack.packb(
        [1, 2**63, 7, 2**60, [], bytes(16), "ada", "", None, None, [["flag/x", 1, 2, "f", b"p" * 40, []]]]
    )
    started = time.perf_counter()
    for _ in range(DECODES):
        msgpack.unpackb(raw)
    print(f"msgpack decode of {len(raw)} bytes   {(time.perf_counter() - started) / DECODES * 1e6:8.2f} µs")
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "reference.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE log (position INTEGER PRIMARY KEY, raw BLOB)")
        started = time.perf_counter()
        for _ in range(INSERTS):
            connection.execute("INSERT INTO log (raw) VALUES (?)", (raw,))
        print(f"SQLite insert with fsync       {(time.perf_counter() - started) / INSERTS * 1e6:8.2f} µs")
        connection.close()


if __name__ == "__main__":
    main()
