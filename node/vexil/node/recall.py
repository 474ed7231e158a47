"""The idempotency keys of the last day, read back from the log of a node that has started.

A start does not wait for them: the node serves, and only writes that carry a key wait until theirs can be looked up.
Keys that came with a snapshot are kept in memory alone; whoever starts again before the history behind that has
followed finds them in that history, once it is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Envelope, peek
from vexil.node.idempotency import KEPT_MS, IdempotencyIndex
from vexil.node.project import Project
from vexil.node.seams import Store, StoreError

RECENT_ROWS_MAX = 100_000
"""Log rows of a project that are read back."""
RECENT_BATCH = 1_000
"""Rows of one turn of the event loop."""
RETRY_MS_MIN = 100
RETRY_MS_MAX = 5_000
HISTORY_WAIT_S: Final = 30.0
"""So long keys are waited for that may stand in history which is yet to come; then the node does without them."""


class Recent(NamedTuple):
    """What the last day's rows of a project's log tell."""

    keyed: Sequence[Envelope]
    """Those with an idempotency key, oldest first."""
    hlc: int
    """The highest stamp that is believed; 0 if there is none."""
    reaches_back: bool
    """There are rows from before that day."""


class Recall:
    """One start's reading. The indexes of its projects are incomplete from its making until they have been read."""

    def __init__(
        self,
        store: Store,
        projects: Mapping[str, Project],
        *,
        wall_ms: int,
        believed: int,
        rng: Random,
        on_failure: Callable[[StoreError], None],
        follows: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """For the ``projects`` of this moment. ``believed`` bounds the stamps that count.

        ``follows`` says of a project whether rows from before all that are here are yet to come.
        """
        self._store = store
        self._missing = dict(projects)
        self._wall_ms = wall_ms
        self._believed = believed
        self._rng = rng
        self._on_failure = on_failure
        self._follows = follows
        self._until_s = trio.current_time() + HISTORY_WAIT_S
        for project in self._missing.values():
            project.idempotency.begin()

    async def run(self) -> None:
        """Read what is missing, however often the store fails."""
        wait_ms = RETRY_MS_MIN
        while self._missing:
            try:
                await self.read()
            except StoreError as error:
                self._on_failure(error)
            if self._missing:
                await trio.sleep(wait_ms * self._rng.uniform(0.5, 1.5) / 1000)
                wait_ms = min(wait_ms * 2, RETRY_MS_MAX)

    async def read(self) -> int:
        """Read what is missing; the highest stamp met that is believed. Raises StoreError: call again.

        What has a history that is yet to come stays missing.
        """
        highest = 0
        for name, project in list(self._missing.items()):
            follows = self._follows(name) and trio.current_time() < self._until_s
            recent = await read_recent(self._store, name, wall_ms=self._wall_ms, believed=self._believed)
            highest = max(highest, recent.hlc)
            if follows and not recent.reaches_back:
                continue
            older = IdempotencyIndex()
            for start in range(0, len(recent.keyed), RECENT_BATCH):
                for envelope in recent.keyed[start : start + RECENT_BATCH]:
                    older.register(envelope)
                await trio.lowlevel.checkpoint()
            project.idempotency.finish(older)
            del self._missing[name]
        return highest


async def read_recent(store: Store, project: str, *, wall_ms: int, believed: int) -> Recent:
    """What the log says of the last day: idempotency keys, and how far the stamps have come.

    All stamps count and not the newest row's: others' rows, with lower stamps, may have come behind our own. At most
    `RECENT_ROWS_MAX` rows are looked at. Raises StoreError.
    """
    oldest_kept = hlcs.pack(max(0, wall_ms - KEPT_MS))
    keyed: list[Envelope] = []
    highest = 0
    reaches_back = False
    before: str | None = None
    for _ in range(RECENT_ROWS_MAX // RECENT_BATCH):
        rows = await store.read_history(project, before=before, limit=RECENT_BATCH)
        envelopes = [envelope for row in rows if (envelope := peek(row.raw)) is not None]
        keyed += [e for e in envelopes if e.idempotency is not None]
        highest = max([highest, *(e.hlc for e in envelopes if e.hlc <= believed)])
        reaches_back = reaches_back or any(e.hlc < oldest_kept for e in envelopes)
        if len(rows) < RECENT_BATCH or all(e.hlc < oldest_kept for e in envelopes):
            break
        before = rows[-1].cursor
    keyed.reverse()
    return Recent(keyed, highest, reaches_back)
