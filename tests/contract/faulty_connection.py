"""A SQLite connection whose COMMIT can be made to fail, before or after it has taken effect."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vexil.node.adapters.sqlite_file import BUSY_TIMEOUT_MS


def sqlite_error(name: str) -> sqlite3.OperationalError:
    """What the sqlite3 module raises for a result code of that name."""
    error = sqlite3.OperationalError("made up")
    error.sqlite_errorname = name
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


class FaultyConnection(sqlite3.Connection):
    """The hooks are for the next COMMIT only; ``on_select`` is for every read until it is taken away."""

    before_commit: Callable[[], None] | None = None
    after_commit: Callable[[], None] | None = None
    on_select: Callable[[], None] | None = None
    commits = 0

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self.commits += 1
            before, self.before_commit = self.before_commit, None
            if before is not None:
                before()
            cursor = super().execute(sql)
            # Taken only now: a test may set it while the COMMIT is held.
            after, self.after_commit = self.after_commit, None
            if after is not None:
                after()
            return cursor
        if self.on_select is not None and sql.lstrip().startswith("SELECT"):
            self.on_select()
        return super().execute(sql, *arguments)


class FaultyConnections:
    """Stands in for ``sqlite_file.connect``; ``opened[0]`` writes, ``opened[1]`` reads."""

    def __init__(self) -> None:
        self.opened: list[FaultyConnection] = []

    @property
    def writer(self) -> FaultyConnection:
        return self.opened[0]

    def __call__(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False,
            factory=FaultyConnection,
        )  # fmt: skip
        assert isinstance(connection, FaultyConnection)
        self.opened.append(connection)
        return connection


def failing(name: str) -> Callable[[], None]:
    def fail() -> None:
        raise sqlite_error(name)

    return fail
