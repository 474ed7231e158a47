"""What a cell must be, when two nodes that have applied the same changes hold two versions of it.

A cell is a set of claims: lanes, each said by the change of its own dot, and ``seen`` entries, each said by the change
that it names. What both versions claim alike is left alone. Of every other claim the log row decides: what the row
says of this cell is true, whatever either version says. A claim whose row nobody has any more is believed as far as
the state can know it; of two such claims the join decides, as it does between any two states.

One side may have collected a replaced lane together with what replaced it, and the other may have lost the latter: a
lane that is live in one version only is therefore `contested`, and later rows that touch the cell are asked as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from vexil.crdt import cell as cells
from vexil.crdt.change import Change, Dot

Known = Callable[[int], int]
"""The seq up to which the state knows an incarnation."""
Row = Change | None
"""A row of the log; None if nobody has it."""

_NO_LANE = (0, 0, b"")
_NO_SEEN = (0, 0, 0)


class Address(NamedTuple):
    """Where a cell is."""

    object: str
    generation: Dot
    field: str


def witnesses(ours: bytes, theirs: bytes) -> set[Dot]:
    """The dots of the changes whose rows decide between the two versions."""
    dots: set[Dot] = set()
    for incarnation, mine, other in _groups(ours, theirs):
        if mine[1:4] != other[1:4]:
            dots |= {(incarnation, flat[1]) for flat in (mine, other) if flat[1]}
        if mine[4:] != other[4:]:
            dots |= {(flat[5], flat[6]) for flat in (mine, other) if flat[4]}
    return dots


def mended(address: Address, ours: bytes, theirs: bytes, rows: Mapping[Dot, Row], known: Known) -> bytes:
    """What the cell must be; ``rows`` has an item for each of `witnesses`, and may have more."""
    result = cells.EMPTY
    for incarnation, mine, other in _groups(ours, theirs):
        lanes = [mine[1:4]] if mine[1:4] == other[1:4] else [mine[1:4], other[1:4]]
        for lane in lanes:
            if lane[0] and (len(lanes) == 1 or _believed((incarnation, lane[0]), rows, known)):
                result = cells.join(result, cells.pack([incarnation, *lane, *_NO_SEEN]))
        entries = [mine[4:]] if mine[4:] == other[4:] else [mine[4:], other[4:]]
        for seen in entries:
            if seen[0] and (
                len(entries) == 1
                or (seen[0] <= known(incarnation) and _believed((seen[1], seen[2]), rows, known))
            ):
                result = cells.join(result, cells.pack([incarnation, *_NO_LANE, *seen]))
    return with_facts(result, address, (row for row in rows.values() if row is not None), known)


def with_facts(cell: bytes, address: Address, rows: Iterable[Change], known: Known) -> bytes:
    """The cell joined with all that rows of the log, as far as the state knows them, say of it."""
    for row in rows:
        if row.seq <= known(row.incarnation):
            for operation in row.operations:
                if operation[:3] == address:
                    fact = cells.write(
                        cells.EMPTY,
                        dot=row.dot,
                        hlc=row.hlc,
                        payload=operation.payload,
                        replaced=operation.seen,
                    )
                    cell = cells.join(cell, fact)
    return cell


def contested(cell: bytes, ours: bytes, theirs: bytes) -> set[Dot]:
    """The live lanes of the decided ``cell`` that are not live in both versions."""
    here, there = set(cells.live(ours)), set(cells.live(theirs))
    return {(lane.incarnation, lane.seq) for lane in cells.live(cell) if lane not in here & there}


def needs_removal(before: bytes, after: bytes) -> bool:
    """Whether something of ``before`` would win over ``after`` in a store that has it: it has to be taken out there."""
    return before != cells.EMPTY and cells.join(before, after) != after


def _believed(witness: Dot, rows: Mapping[Dot, Row], known: Known) -> bool:
    """Whether a claim counts on its own: no row can tell. What a row says is joined in anyway."""
    return rows.get(witness) is None and 0 < witness[1] <= known(witness[0])


def _groups(ours: bytes, theirs: bytes) -> Iterable[tuple[int, cells.Flat, cells.Flat]]:
    """Per incarnation its seven items in both versions."""
    here, there = _by_incarnation(ours), _by_incarnation(theirs)
    for incarnation in sorted({*here, *there}):
        absent = [incarnation, *_NO_LANE, *_NO_SEEN]
        yield incarnation, here.get(incarnation, absent), there.get(incarnation, absent)


def _by_incarnation(cell: bytes) -> dict[int, cells.Flat]:
    flat = cells.unpacked(cell)
    return {flat[i]: flat[i : i + cells.WIDTH] for i in range(0, len(flat), cells.WIDTH)}
