"""Retention: the log's oldest rows go, once they are older than they have to be kept and every member has them.

Rows are for the audit trail and for members that are behind; the state does not need them. A row goes only if its stamp
is older than the limit, every row of its incarnation before it goes, and it is stable: nobody will ask for it again.
A member that comes up later takes a snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final, Protocol

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt.change import peek
from vexil.node.project import Project
from vexil.node.seams import Clock, Journal, JournalError, Store, StoreError
from vexil.node.stability import Blocked, Stable
from vexil.node.telemetry import Telemetry

DAY_MS: Final = 86_400_000
INTERVAL_S: Final = 3_600.0
PAGE_BYTES: Final = 256 << 10
"""Of rows that are looked at before the loop gets a turn, and that go in one step."""
PAGES_PER_ROUND_MAX: Final = 4_000
"""Of one project; what is over goes with the next round."""


class Ground(Protocol):
    """What retention stands on: see `vexil.node.caretaker`."""

    def stability(self, project: Project) -> Stable | Blocked:
        """Up to where the project is at every member."""

    def store_failed(self, error: StoreError | JournalError) -> None:
        """Count and log it."""


class Retention:
    """Trims the log of every project of one node."""

    def __init__(
        self,
        ground: Ground,
        projects: Mapping[str, Project],
        store: Store,
        journal: Journal,
        *,
        clock: Clock,
        telemetry: Telemetry,
        rng: Random,
        days: int,
    ) -> None:
        """Over ``projects``, which may grow; rows are kept for ``days`` days at least."""
        self._ground = ground
        self._projects = projects
        self._store = store
        self._journal = journal
        self._clock = clock
        self._telemetry = telemetry
        self._rng = rng
        self._kept_ms = days * DAY_MS
        self._trimmed: dict[str, int] = {}
        self._oldest: dict[str, int] = {}

    async def run(self) -> None:
        """Trim every hour until cancelled."""
        while True:
            await trio.sleep(INTERVAL_S * self._rng.uniform(0.5, 1.0))
            for name in list(self._projects):
                try:
                    await self.trim(self._projects[name])
                except (StoreError, JournalError) as error:
                    self._ground.store_failed(error)

    async def trim(self, project: Project) -> None:
        """One round over one project. Raises StoreError, JournalError."""
        found = self._ground.stability(project)
        if isinstance(found, Blocked):
            return
        through = {**found.vv, **project.replica.retired}
        oldest_kept = hlcs.pack(max(0, self._clock.wall_ms() - self._kept_ms))
        reached = dict(await self._store.log_start(project.name))
        oldest: int | None = None
        for _ in range(PAGES_PER_ROUND_MAX):
            page = await self._store.read_changes(
                project.name, after=reached, through=through, limit_bytes=PAGE_BYTES
            )
            if not page:
                break
            going: dict[int, int] = {}
            rows = 0
            for record in page:
                if record.incarnation not in through:
                    continue
                reached[record.incarnation] = record.seq
                envelope = peek(record.raw)
                if envelope is not None and envelope.hlc < oldest_kept:
                    going[record.incarnation] = record.seq
                    rows += 1
                    continue
                # It stays, and with it whatever its incarnation wrote after it.
                del through[record.incarnation]
                if envelope is not None:
                    oldest = envelope.hlc if oldest is None else min(oldest, envelope.hlc)
            if going:
                async with project.log_turn:
                    await self._store.trim_changes(project.name, going)
                    await self._journal.trim(project.name, going)
                self._trimmed[project.name] = self._trimmed.get(project.name, 0) + rows
                self._telemetry.count_trimmed(project.name, rows)
        if oldest is not None:
            self._oldest[project.name] = oldest

    def status(self) -> dict[str, Any]:
        """Per project that was looked at: rows that went since the start, and the time of the oldest that stays."""
        return {
            name: {
                "rows_trimmed": self._trimmed.get(name, 0),
                "oldest_time": hlcs.render_time(hlcs.milliseconds(self._oldest[name]))
                if name in self._oldest
                else None,
            }
            for name in sorted({*self._trimmed, *self._oldest})
        }
