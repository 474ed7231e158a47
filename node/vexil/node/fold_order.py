"""Which of two packed fold entries of one incarnation and cell is the newer, and what is left of one.

A store with a timestamp per column decides lane and ``seen`` apart. A store that keeps the packed entry whole needs
one order that never loses what the columns would have kept. An entry has one writer and both its seqs only grow, so
for what that writer writes this is the columns' order. Should two entries each be ahead in one column, the higher of
all seqs decides, and ``seen`` before the lane where they are equal: the lane is then live (or dead) exactly if it is
in the join of the two, because ``seen`` below a lane and a lane below ``seen`` change nothing.
"""

from __future__ import annotations

from vexil.crdt import cell as cells
from vexil.node.seams import FoldEntry


def precedence(entry: FoldEntry) -> tuple[int, int, int, bytes]:
    """Sort key: the entry with the higher one replaces the other; equal seqs are decided by the larger bytes."""
    return (max(entry.lane_seq, entry.seen_seq), entry.seen_seq, entry.lane_seq, entry.entry)


def without(entry: FoldEntry, timestamp: int) -> FoldEntry | None:
    """What a row tombstone of ``timestamp`` leaves of an entry: each part goes whose seq is not above it.

    None if nothing is left, ``entry`` itself if nothing goes.
    """
    lane_goes = 0 < entry.lane_seq <= timestamp
    seen_goes = 0 < entry.seen_seq <= timestamp
    if not lane_goes and not seen_goes:
        return entry
    if entry.lane_seq <= timestamp and entry.seen_seq <= timestamp:
        return None
    flat = cells.unpacked(cells.from_entries((entry.entry,)))
    if lane_goes:
        flat[1:4] = _NO_LANE
    else:
        flat[4 : cells.WIDTH] = _NO_SEEN
    (kept,) = cells.entries(cells.pack(flat))
    return entry._replace(entry=kept.packed, lane_seq=kept.lane_seq, seen_seq=kept.seen_seq)


_NO_LANE = (0, 0, b"")
_NO_SEEN = (0, 0, 0)
