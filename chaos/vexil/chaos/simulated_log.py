"""The rows of a simulated journal or store, and how they are read: as the seam says, from memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vexil.node.causal_order import Causes, PlacedRecord, in_causal_order
from vexil.node.seams import LogRecord

_Rows = dict[int, list[PlacedRecord]]


class SimulatedLog:
    """Immutable rows by project and dot; a dot may have several (a fork)."""

    def __init__(self, causes: Causes) -> None:
        self._causes = causes
        self._rows: dict[str, dict[int, _Rows]] = {}
        self._places = 0

    def add(self, record: LogRecord) -> None:
        """Keep a row; the same bytes again change nothing, other bytes stay beside the first."""
        by_incarnation = self._rows.setdefault(record.project, {})
        rows = by_incarnation.setdefault(record.incarnation, {}).setdefault(record.seq, [])
        if all(row.record.raw != record.raw for row in rows):
            self._places += 1
            rows.append(PlacedRecord(self._places, record))

    def projects(self) -> Sequence[str]:
        """Names of the projects that have a row, ascending."""
        return sorted(self._rows)

    def whole(self, project: str) -> Sequence[LogRecord]:
        """Every row that can be reached from the first of its incarnation, causes first."""
        by_incarnation = self._rows.get(project, {})
        return list(
            self._read(project, {}, {incarnation: max(rows) for incarnation, rows in by_incarnation.items()})
        )

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
