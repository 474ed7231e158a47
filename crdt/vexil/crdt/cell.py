"""The cell: the unit of merging, as packed bytes.

A cell is ``lanes: {incarnation -> (seq, hlc, payload)}`` and ``seen: {incarnation -> (seq, by)}`` where ``by`` is the
dot of the change that raised the entry. A lane is live iff its seq is above the ``seen`` entry of its incarnation.
Join takes, per incarnation, the lane with the higher seq (equal seq: the larger bytes) and the higher ``seen`` entry.
Absence is never evidence: nothing is ever removed because somebody did not send it.

Hundreds of thousands of cells live in memory, so each is one ``bytes``: a flat msgpack array with seven items per
incarnation, ascending. Equal cells are equal bytes. The empty cell is ``EMPTY``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgpack

from vexil.crdt.change import INCARNATION_MAX, SEQ_MAX
from vexil.crdt.payload import is_tombstone

WIDTH = 7
"""Items per incarnation: incarnation, lane seq, hlc, payload, seen seq, seen-by incarnation, seen-by seq."""
EMPTY = b"\x90"

_SHORT_ARRAY_MAX = 15
_MEDIUM_ARRAY_MAX = 0xFFFF
_ARRAY_16 = 0xDC
# One packer for the process: the kernel is single-threaded, and building one costs more than packing a cell.
_pack = msgpack.Packer(autoreset=True).pack
_unpack = msgpack.unpackb
_new_lane = tuple.__new__


class Lane(NamedTuple):
    """One incarnation's last write to a cell."""

    incarnation: int
    seq: int
    hlc: int
    payload: bytes


class Seen(NamedTuple):
    """Lanes of ``incarnation`` up to ``seq`` have been replaced; ``by`` is the dot of the change that said so."""

    incarnation: int
    seq: int
    by: tuple[int, int]


class Entry(NamedTuple):
    """One incarnation's part of a cell, as the fold keeps it; a seq of 0 means that the part is absent."""

    incarnation: int
    packed: bytes
    lane_seq: int
    seen_seq: int


def lanes(cell: bytes) -> list[Lane]:
    """Every lane, dead ones too, ascending by incarnation."""
    flat = _unpack(cell)
    return [
        Lane(flat[i], flat[i + 1], flat[i + 2], flat[i + 3])
        for i in range(0, len(flat), WIDTH)
        if flat[i + 1]
    ]


def live(cell: bytes) -> list[Lane]:
    """The live lanes, tombstones among them, ascending by incarnation."""
    flat = _unpack(cell)
    if len(flat) == WIDTH:
        # Nearly every cell has one lane, and every reading starts here: without the constructor's detour.
        return [_new_lane(Lane, flat[:4])] if flat[1] > flat[4] else []
    return [_new_lane(Lane, flat[i : i + 4]) for i in range(0, len(flat), WIDTH) if flat[i + 1] > flat[i + 4]]


def live_dots(cell: bytes, *, without: int) -> tuple[tuple[int, int], ...]:
    """The dots of the live lanes of every incarnation but ``without``, ascending: what its next write replaces."""
    flat = _unpack(cell)
    if len(flat) == WIDTH and flat[0] == without:
        return ()
    return tuple(
        [
            (flat[i], flat[i + 1])
            for i in range(0, len(flat), WIDTH)
            if flat[i + 1] > flat[i + 4] and flat[i] != without
        ]
    )


def seen(cell: bytes) -> list[Seen]:
    """Every ``seen`` entry, ascending by incarnation."""
    flat = _unpack(cell)
    return [
        Seen(flat[i], flat[i + 4], (flat[i + 5], flat[i + 6]))
        for i in range(0, len(flat), WIDTH)
        if flat[i + 4]
    ]


def incarnations(cell: bytes) -> int:
    """How many incarnations have a part of the cell, from its first bytes."""
    first = cell[0]
    if first & 0xF0 == EMPTY[0]:
        return (first & 0x0F) // WIDTH
    return int.from_bytes(cell[1 : 3 if first == _ARRAY_16 else 5], "big") // WIDTH


def has_value(cell: bytes) -> bool:
    """Whether any live lane is not a tombstone."""
    return holds_value(_unpack(cell))


def write(
    cell: bytes,
    *,
    dot: tuple[int, int],
    hlc: int,
    payload: bytes,
    replaced: Sequence[tuple[int, int]],
) -> bytes:
    """The cell after the operation of the change ``dot``: its lane, and ``seen`` raised to each ``replaced`` dot."""
    flat = unpacked(cell)
    put(flat, dot=dot, hlc=hlc, payload=payload, replaced=replaced)
    return pack(flat)


Flat = list[Any]
"""An unpacked cell: seven items per incarnation, ascending."""


def unpacked(cell: bytes) -> Flat:
    """The cell's items, to be read, changed by `put` and packed again: the unit of work of applying a change."""
    flat: Flat = _unpack(cell)
    return flat


def holds_value(flat: Flat) -> bool:
    """`has_value` of an unpacked cell."""
    for i in range(0, len(flat), WIDTH):  # noqa: SIM110 - a generator costs more than what it looks at
        if flat[i + 1] > flat[i + 4] and not is_tombstone(flat[i + 3]):
            return True
    return False


def pack(flat: Flat) -> bytes:
    """The inverse of `unpacked`."""
    return _pack(flat)


def put(
    flat: Flat, *, dot: tuple[int, int], hlc: int, payload: bytes, replaced: Sequence[tuple[int, int]]
) -> None:
    """`write` on an unpacked cell, in place."""
    incarnation, seq = dot
    if not flat:
        flat += (incarnation, seq, hlc, payload, 0, 0, 0)
        if not replaced:
            return
    for other, other_seq in replaced:
        _join_seen(flat, _place(flat, other), other_seq, incarnation, seq)
    _join_lane(flat, _place(flat, incarnation), seq, hlc, payload)


def tombstones_beside(flat: Flat, incarnation: int) -> list[tuple[int, int]]:
    """The dots of live tombstones of others than ``incarnation``."""
    return [
        (flat[i], flat[i + 1])
        for i in range(0, len(flat), WIDTH)
        if flat[i + 1] > flat[i + 4] and flat[i] != incarnation and is_tombstone(flat[i + 3])
    ]


def replace(flat: Flat, dot: tuple[int, int], *, by: tuple[int, int]) -> None:
    """Raise ``seen`` over ``dot``, in place."""
    _join_seen(flat, _place(flat, dot[0]), dot[1], *by)


def join(left: bytes, right: bytes) -> bytes:
    """The least upper bound: commutative, associative, idempotent."""
    flat = _unpack(left)
    other = _unpack(right)
    for i in range(0, len(other), WIDTH):
        at = _place(flat, other[i])
        if other[i + 1]:
            _join_lane(flat, at, other[i + 1], other[i + 2], other[i + 3])
        if other[i + 4]:
            _join_seen(flat, at, other[i + 4], other[i + 5], other[i + 6])
    return _pack(flat)


def entries(cell: bytes, only: Iterable[int] | None = None) -> list[Entry]:
    """The cell cut by incarnation (of those in ``only``), for a store that keeps a row for each."""
    flat = _unpack(cell)
    wanted = None if only is None else frozenset(only)
    if len(flat) == WIDTH and (wanted is None or flat[0] in wanted):
        # Nearly every cell is of one incarnation: what follows the array's first byte is the entry.
        return [Entry(flat[0], cell[1:], flat[1], flat[4])]
    return [
        Entry(flat[i], b"".join(map(_pack, flat[i : i + WIDTH])), flat[i + 1], flat[i + 4])
        for i in range(0, len(flat), WIDTH)
        if wanted is None or flat[i] in wanted
    ]


def from_entries(packed: Sequence[bytes]) -> bytes:
    """The cell of packed entries that are ascending by incarnation; the inverse of ``entries``."""
    items = len(packed) * WIDTH
    if items <= _SHORT_ARRAY_MAX:
        header = bytes((0x90 | items,))
    elif items <= _MEDIUM_ARRAY_MAX:
        header = b"\xdc" + items.to_bytes(2, "big")
    else:
        header = b"\xdd" + items.to_bytes(4, "big")
    return header + (packed[0] if len(packed) == 1 else b"".join(packed))


def check(cell: object) -> bool:
    """Whether bytes from a peer or a file are a cell, and the very bytes that this module makes of it. Total."""
    return checked(cell) is not None


def checked(cell: object) -> Flat | None:
    """`unpacked`, of bytes from a peer or a file: None if they fail the `check`. Total."""
    if type(cell) is not bytes:
        return None
    try:
        flat: object = _unpack(cell, timestamp=0)
        if type(flat) is not list or not flat or len(flat) % WIDTH or _pack(flat) != cell:
            return None
    except Exception:  # noqa: BLE001 - msgpack raises a dozen types on junk
        return None
    if len(flat) == WIDTH:
        return flat if _is_entry(*flat) and flat[0] else None
    last = 0
    for i in range(0, len(flat), WIDTH):
        if not _is_entry(*flat[i : i + WIDTH]) or flat[i] <= last:
            return None
        last = flat[i]
    return flat


def _is_entry(  # noqa: PLR0911, PLR0917 - every cell of a snapshot comes through here: no loop, no slices
    incarnation: object,
    seq: object,
    hlc: object,
    payload: object,
    seen_seq: object,
    by_incarnation: object,
    by_seq: object,
) -> bool:
    if type(payload) is not bytes:
        return False
    if type(incarnation) is not int or not 0 <= incarnation <= INCARNATION_MAX:
        return False
    if type(seq) is not int or not 0 <= seq <= SEQ_MAX:
        return False
    if type(hlc) is not int or not 0 <= hlc <= INCARNATION_MAX:
        return False
    if type(seen_seq) is not int or not 0 <= seen_seq <= SEQ_MAX:
        return False
    if type(by_incarnation) is not int or not 0 <= by_incarnation <= INCARNATION_MAX:
        return False
    if type(by_seq) is not int or not 0 <= by_seq <= SEQ_MAX:
        return False
    # An absent part is written in one way only.
    if not seq and (not seen_seq or hlc or payload):
        return False
    if seen_seq:
        return by_incarnation > 0 and by_seq > 0
    return not by_incarnation and not by_seq


def _place(flat: Flat, incarnation: int) -> int:
    """Index of the incarnation's items; makes an empty group in order if there is none."""
    i = 0
    for i in range(0, len(flat), WIDTH):
        present: int = flat[i]
        if present == incarnation:
            return i
        if present > incarnation:
            break
    else:
        i = len(flat)
    flat[i:i] = (incarnation, 0, 0, b"", 0, 0, 0)
    return i


def _join_lane(flat: Flat, i: int, seq: int, hlc: int, payload: bytes) -> None:
    present: int = flat[i + 1]
    # Equal seq with other content is a fork (a cloned process). Both sides must still agree: the larger wins, whole.
    if seq > present or (seq == present and (hlc, payload) > (flat[i + 2], flat[i + 3])):
        flat[i + 1 : i + 4] = (seq, hlc, payload)


def _join_seen(flat: Flat, i: int, seq: int, by_incarnation: int, by_seq: int) -> None:
    present: int = flat[i + 4]
    # Equal seq: one of two concurrent writers is remembered; which one must not depend on the order of arrival.
    if seq > present or (seq == present and (by_incarnation, by_seq) > (flat[i + 5], flat[i + 6])):
        flat[i + 4 : i + WIDTH] = (seq, by_incarnation, by_seq)
