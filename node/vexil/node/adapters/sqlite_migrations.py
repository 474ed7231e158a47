"""How a node's file of an older version becomes one of the present version.

A step goes from one version to the next and is never changed once it was released. All of them run inside the
transaction in which the file is opened: a crash in the middle leaves the file as it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

SCHEMA_VERSION: Final = 2

FOLD_TABLE: Final = """CREATE TABLE fold (
        project INTEGER NOT NULL, checkpoint INTEGER NOT NULL, object TEXT NOT NULL, generation BLOB NOT NULL,
        field TEXT NOT NULL, incarnation BLOB NOT NULL, entry BLOB NOT NULL, lane_seq INTEGER NOT NULL,
        seen_seq INTEGER NOT NULL,
        PRIMARY KEY (project, checkpoint, object, generation, field, incarnation)
    ) WITHOUT ROWID"""

# 1 to 2: a project may have several stored folds, of which one is the slot's; until then there was the one.
_TO_2: Final = (
    "ALTER TABLE fold RENAME TO fold_of_version_1",
    FOLD_TABLE,
    """INSERT INTO fold
        SELECT project, 0, object, generation, field, incarnation, entry, lane_seq, seen_seq FROM fold_of_version_1
        ORDER BY project, object, generation, field, incarnation""",
    "DROP TABLE fold_of_version_1",
)
_STEPS: Final[Sequence[Sequence[str]]] = (_TO_2,)
"""The first one leads from version 1 to 2."""


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables from ``version`` to `SCHEMA_VERSION`, inside the caller's transaction.

    A member row's body says by itself of which version it is and is rewritten by the next start. Raises sqlite3.Error.
    """
    for step in _STEPS[version - 1 :]:
        for statement in step:
            connection.execute(statement)
    if version < SCHEMA_VERSION:
        connection.execute("UPDATE schema SET version = ?", (SCHEMA_VERSION,))
