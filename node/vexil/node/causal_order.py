"""The order in which a project's log is read: each incarnation by seq without gaps, causes before effects.

A store keeps rows per incarnation; what was written first is only a hint, because rows may arrive late and in any
order. Every row names its causes (``deps``), so the order is made when the log is read: a merge of the incarnations'
rows in which a row waits until what it names has been given out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from vexil.crdt.change import peek_deps
from vexil.node.seams import LogRecord

Causes = Callable[[bytes], Iterable[tuple[int, int]]]
"""The dots that must be there before a row, except its own incarnation's previous row."""


class PlacedRecord(NamedTuple):
    """A row with its place in the store; places decide between rows that are not each other's cause."""

    place: int
    record: LogRecord


def causes_of(raw: bytes) -> Iterable[tuple[int, int]]:
    """The ``deps`` of an encoded change; none if it cannot be decoded (its reader will say so)."""
    return peek_deps(raw)


def in_causal_order(
    streams: Mapping[int, Iterator[PlacedRecord]], *, after: Mapping[int, int], causes: Causes = causes_of
) -> Iterator[LogRecord]:
    """Merge ``streams`` (incarnation -> its rows above ``after``, ascending by seq), lazily.

    A stream ends at its first gap. Two rows of one dot (a fork) are given out one behind the other. A row whose
    causes are neither covered by ``after`` nor in ``streams`` is not withheld, but comes behind all others: the
    reader sees that something is missing here. Deterministic: it depends on the arguments only.
    """
    return iter(_Merge(streams, after, causes))


class _Merge:
    def __init__(
        self, streams: Mapping[int, Iterator[PlacedRecord]], after: Mapping[int, int], causes: Causes
    ) -> None:
        self._streams = dict(streams)
        self._reached = dict(after)
        self._causes = causes
        self._ready: list[tuple[int, int, LogRecord]] = []
        self._waiting: dict[int, list[PlacedRecord]] = {}  # by the incarnation that they wait for

    def __iter__(self) -> Iterator[LogRecord]:
        for incarnation in sorted(self._streams):
            self._advance(incarnation)
        while self._ready or self._waiting:
            if not self._ready:
                self._give_up_waiting()
            _, incarnation, record = heapq.heappop(self._ready)
            yield record
            self._reached[incarnation] = record.seq
            if incarnation in self._waiting:
                for placed in self._waiting.pop(incarnation):
                    self._place(placed)
            self._advance(incarnation)

    def _advance(self, incarnation: int) -> None:
        placed = next(self._streams[incarnation], None)
        if placed is not None and placed.record.seq <= self._reached.get(incarnation, 0) + 1:
            self._place(placed)

    def _place(self, placed: PlacedRecord) -> None:
        record = placed.record
        reached = self._reached
        for incarnation, seq in self._causes(record.raw):
            if reached.get(incarnation, 0) < seq and incarnation != record.incarnation:
                self._waiting.setdefault(incarnation, []).append(placed)
                return
        heapq.heappush(self._ready, (placed.place, record.incarnation, record))

    def _give_up_waiting(self) -> None:
        everything = [placed for group in self._waiting.values() for placed in group]
        first = min(everything, key=lambda placed: placed.place)
        for incarnation, group in list(self._waiting.items()):
            group[:] = [placed for placed in group if placed is not first]
            if not group:
                del self._waiting[incarnation]
        heapq.heappush(self._ready, (first.place, first.record.incarnation, first.record))
