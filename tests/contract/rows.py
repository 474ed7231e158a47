"""Rows for the contract suites: a store looks into a row for its causes only, so these rows hold nothing else."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TypeVar

import msgpack

from vexil.crdt import cell as cells
from vexil.node.seams import FoldEntry, LogRecord

A, B, C = 0x0A, 0x0B << 40, (1 << 64) - 1
"""Incarnations: small, middling, the highest there is."""

_T = TypeVar("_T")


def row(
    incarnation: int,
    seq: int,
    *,
    causes: Iterable[tuple[int, int]] = (),
    project: str = "p",
    body: bytes = b"",
) -> LogRecord:
    return LogRecord(project, incarnation, seq, msgpack.packb([list(causes), body]))


def causes_of_row(raw: bytes) -> Iterable[tuple[int, int]]:
    return [(incarnation, seq) for incarnation, seq in msgpack.unpackb(raw)[0]]


def tangled_rows(
    rng: random.Random, *, count: int, incarnations: Sequence[int] = (A, B, C)
) -> list[LogRecord]:
    """A history in a causal order: every row names what its writer had seen by then."""
    rows: list[LogRecord] = []
    heads: dict[int, int] = {}
    for _ in range(count):
        incarnation = rng.choice(incarnations)
        seen = {i: rng.randint(max(1, seq - 2), seq) for i, seq in heads.items() if i != incarnation}
        # What those had seen is not listed again: along an incarnation causes only grow, so all of it counts.
        heads[incarnation] = heads.get(incarnation, 0) + 1
        rows.append(
            row(incarnation, heads[incarnation], causes=seen.items(), body=rng.randbytes(rng.randrange(60)))
        )
    return rows


def vector_of(rows: Iterable[LogRecord]) -> dict[int, int]:
    vector: dict[int, int] = {}
    for record in rows:
        vector[record.incarnation] = max(record.seq, vector.get(record.incarnation, 0))
    return vector


def assert_readable(rows: Sequence[LogRecord], after: Mapping[int, int]) -> None:
    """Each row is the next of its incarnation and follows its causes."""
    reached = dict(after)
    for record in rows:
        assert record.seq == reached.get(record.incarnation, 0) + 1
        for incarnation, seq in causes_of_row(record.raw):
            assert reached.get(incarnation, 0) >= seq
        reached[record.incarnation] = record.seq


def lane(
    name: str,
    incarnation: int,
    *,
    lane_seq: int,
    seen_seq: int = 0,
    field: str = "owner",
    generation: tuple[int, int] = (0, 0),
) -> FoldEntry:
    payload = f"{lane_seq}/{seen_seq}".encode()
    lane_part = (lane_seq, lane_seq << 16, payload) if lane_seq else (0, 0, b"")
    seen_part = (seen_seq, A, seen_seq) if seen_seq else (0, 0, 0)
    (entry,) = cells.entries(cells.pack([incarnation, *lane_part, *seen_part]))
    return FoldEntry(name, generation, field, incarnation, entry.packed, lane_seq, seen_seq)


async def gather(batches: AsyncIterator[Sequence[_T]]) -> list[_T]:
    """All that an iterator of batches gives; no batch is empty."""
    found: list[_T] = []
    async for batch in batches:
        assert batch
        found += batch
    return found
