"""Which of two packed fold entries of one incarnation and cell is the newer.

A store with a timestamp per column decides lane and ``seen`` apart. A store that keeps the packed entry whole needs
one order that never loses what the columns would have kept. An entry has one writer and both its seqs only grow, so
for what that writer writes this is the columns' order. Should two entries each be ahead in one column, the higher of
all seqs decides, and ``seen`` before the lane where they are equal: the lane is then live (or dead) exactly if it is
in the join of the two, because ``seen`` below a lane and a lane below ``seen`` change nothing.
"""

from __future__ import annotations

from vexil.node.seams import FoldEntry


def precedence(entry: FoldEntry) -> tuple[int, int, int, bytes]:
    """Sort key: the entry with the higher one replaces the other; equal seqs are decided by the larger bytes."""
    return (max(entry.lane_seq, entry.seen_seq), entry.seen_seq, entry.lane_seq, entry.entry)
