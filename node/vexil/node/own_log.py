"""The log as this node can read it: its own journal first, its region's store where the journal has let go of rows.

Whoever asks is given rows in an order in which they can be applied. What is given to a peer begins where that peer
stands, which is not always what it says: it may not know yet which incarnations have been retired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vexil.crdt import version_vector
from vexil.node.forks import Forks
from vexil.node.gossip.log_reach import RetiredKnowledge, applicable
from vexil.node.project import Project
from vexil.node.seams import HistoryRow, Journal, LogRecord, Store


class OwnLog:
    """Reads one node's log. Every method raises StoreError."""

    def __init__(self, journal: Journal, store: Store, forks: Forks) -> None:
        """``forks`` are incarnations whose rows nobody has to have."""
        self._journal = journal
        self._store = store
        self._forks = forks
        self._retired_knowledge: dict[str, RetiredKnowledge] = {}
        """By project: at most as many as there are projects."""

    async def read(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """A page of the log, from the journal or else from the store."""
        page = await self._journal.read_changes(
            project, after=after, through=through, limit_bytes=limit_bytes
        )
        if page or version_vector.covers(after, through):
            return page
        return await self._store.read_changes(project, after=after, through=through, limit_bytes=limit_bytes)

    async def read_missing(
        self,
        project: Project,
        *,
        after: Mapping[int, int],
        through: Mapping[int, int],
        limit_bytes: int,
        left_out: Sequence[int] = (),
    ) -> Sequence[LogRecord]:
        """A page that somebody who has ``after`` can apply, with nothing that he did not retire.

        Nothing, although something is missing, means that the log does not reach back so far. ``left_out`` are
        incarnations that he does not take.
        """
        knowledge = self._retired_knowledge.setdefault(project.name, RetiredKnowledge())
        have = knowledge.completed(project.replica, after)
        if have is None:
            return ()
        excused = {*self._forks.incarnations, *project.stopped, *left_out}
        page: Sequence[LogRecord] = ()
        for log in (self._journal, self._store):
            rows = await log.read_changes(project.name, after=have, through=through, limit_bytes=limit_bytes)
            page = applicable(rows, have, excused)
            if page or version_vector.covers(have, through) or self._store.shares_journal:
                break
        return page

    async def read_history(self, project: str, *, before: str | None, limit: int) -> Sequence[HistoryRow]:
        """Rows newest first, as the store shows them."""
        return await self._store.read_history(project, before=before, limit=limit)
