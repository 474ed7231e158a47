"""The rows of a simulated journal or store, and how they are read: as the seam says, from memory.

A trim is a tombstone over a range: a row that was on its way when it landed stays dead when it lands itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final

from vexil.node.causal_order import Causes, PlacedRecord, in_causal_order
from vexil.node.seams import LogRecord

CAUSES_KEPT_MAX: Final = 10_000
_Rows = dict[int, list[PlacedRecord]]
_Run = list[list[PlacedRecord]]
"""Rows of one incarnation without a gap, ascending; those of one dot together."""


class SimulatedLog:
    """Immutable rows by project and dot; a dot may have several (a fork)."""

    def __init__(self, causes: Causes) -> None:
        self._causes = lru_cache(CAUSES_KEPT_MAX)(lambda raw: tuple(causes(raw)))
        """Of a row, which never changes, and is read again and again."""
        self._rows: dict[str, dict[int, _Rows]] = {}
        self._in_order: dict[str, Sequence[LogRecord]] = {}
        """What `whole` has answered, until a row comes or goes."""
        self._places = 0
        self._past_places = 0
        self._trims: list[tuple[str, Mapping[int, int]]] = []

    @property
    def trims(self) -> int:
        """How many trims have landed: what ``add`` and ``add_past`` are told of a write that is sent now."""
        return len(self._trims)

    def add(self, record: LogRecord, *, sent_after: int | None = None) -> None:
        """Keep a row; the same bytes again change nothing, other bytes stay beside the first.

        ``sent_after`` is the number of trims that had landed when the write was sent; None: it is not late.
        """
        if self._is_dead(record, sent_after):
            return
        by_incarnation = self._rows.setdefault(record.project, {})
        rows = by_incarnation.setdefault(record.incarnation, {}).setdefault(record.seq, [])
        if all(row.record.raw != record.raw for row in rows):
            self._places += 1
            self._in_order.pop(record.project, None)
            rows.append(PlacedRecord(self._places, record))

    def add_past(self, record: LogRecord, *, sent_after: int | None = None) -> None:
        """`add`, in a place before every row that is here."""
        if self._is_dead(record, sent_after):
            return
        rows = self._rows.setdefault(record.project, {}).setdefault(record.incarnation, {})
        beside = rows.setdefault(record.seq, [])
        if all(row.record.raw != record.raw for row in beside):
            self._past_places -= 1
            self._in_order.pop(record.project, None)
            beside.append(PlacedRecord(self._past_places, record))

    def trim(self, project: str, through: Mapping[int, int]) -> None:
        """Drop the rows with ``seq <= through[i]``, now and when they land late."""
        self._trims.append((project, dict(through)))
        self._in_order.pop(project, None)
        by_incarnation = self._rows.get(project, {})
        for incarnation in list(by_incarnation):
            kept = {s: r for s, r in by_incarnation[incarnation].items() if s > through.get(incarnation, 0)}
            if kept:
                by_incarnation[incarnation] = kept
            else:
                del by_incarnation[incarnation]
        if not by_incarnation:
            self._rows.pop(project, None)

    def start(self, project: str) -> dict[int, int]:
        """Per incarnation that has a row: the seq before the first of its newest ones that have no gap between them."""
        return {i: _before_newest(rows) for i, rows in self._rows.get(project, {}).items()}

    def projects(self) -> Sequence[str]:
        """Names of the projects that have a row, ascending."""
        return sorted(self._rows)

    def whole(self, project: str) -> Sequence[LogRecord]:
        """Every row, causes first as far as they are here; what is behind a gap of its incarnation comes later."""
        found = self._in_order.get(project)
        if found is None:
            found = self._in_order[project] = self._put_in_order(project)
        return found

    def _put_in_order(self, project: str) -> Sequence[LogRecord]:
        runs = {incarnation: _runs(rows) for incarnation, rows in self._rows.get(project, {}).items()}
        records: list[LogRecord] = []
        while runs:
            first = {incarnation: left.pop(0) for incarnation, left in runs.items()}
            runs = {incarnation: left for incarnation, left in runs.items() if left}
            records += in_causal_order(
                {i: (placed for rows in run for placed in rows) for i, run in first.items()},
                after={i: run[0][0].record.seq - 1 for i, run in first.items()},
                causes=partial(self._causes_in, first),
            )
        return records

    def page(
        self, project: str, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """What ``read_changes`` answers."""
        page: list[LogRecord] = []
        size = 0
        for record in self._read(project, after, through):
            size += len(record.raw)
            if page and size > limit_bytes:
                break
            page.append(record)
        return page

    def _causes_in(self, runs: Mapping[int, _Run], raw: bytes) -> Iterator[tuple[int, int]]:
        """The causes that are given out with these runs: an order over what is here does not wait for the rest."""
        for incarnation, seq in self._causes(raw):
            run = runs.get(incarnation)
            if run is not None and seq <= run[-1][0].record.seq:
                yield incarnation, seq

    def _is_dead(self, record: LogRecord, sent_after: int | None) -> bool:
        return sent_after is not None and any(
            project == record.project and record.seq <= through.get(record.incarnation, 0)
            for project, through in self._trims[sent_after:]
        )

    def _read(
        self, project: str, after: Mapping[int, int], through: Mapping[int, int]
    ) -> Iterator[LogRecord]:
        streams = {
            incarnation: _between(rows, after.get(incarnation, 0), through.get(incarnation, 0))
            for incarnation, rows in self._rows.get(project, {}).items()
        }
        return in_causal_order(streams, after=after, causes=self._causes)


def _between(rows: _Rows, low: int, high: int) -> Iterator[PlacedRecord]:
    for seq in range(low + 1, high + 1):
        if seq not in rows:
            return
        yield from rows[seq]


def _runs(rows: _Rows) -> list[_Run]:
    runs: list[_Run] = []
    before = -1
    for seq in sorted(rows):
        if seq != before + 1:
            runs.append([])
        runs[-1].append(rows[seq])
        before = seq
    return runs


def _before_newest(seqs: Collection[int]) -> int:
    first = max(seqs)
    while first - 1 in seqs:
        first -= 1
    return first - 1
