"""A checkpoint of a slot's fold in a simulated store: rows of two columns, each with its own timestamp, and tombstones.

What a write does is decided by its timestamp alone, so that late is the same as early.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vexil.crdt import cell as cells
from vexil.crdt.garbage import FoldRemoval
from vexil.node.fold_order import without
from vexil.node.seams import FoldEntry

FoldKey = tuple[str, tuple[int, int], str, int]


@dataclass(slots=True)
class SimulatedFold:
    """One checkpoint of a slot's fold of one project."""

    rows: dict[FoldKey, FoldEntry] = field(default_factory=dict)
    tombstones: dict[FoldKey, int] = field(default_factory=dict)
    """Per row: up to which timestamp what was written to it is dead, however late it lands."""
    dropped: bool = False

    def put(self, entry: FoldEntry) -> None:
        """Write both columns; each stays as it is if the row has it with a higher timestamp."""
        key = entry[:4]
        alive = without(entry, self.tombstones.get(key, 0))
        if alive is None or self.dropped:
            return
        old = self.rows.get(key)
        self.rows[key] = alive if old is None else _columns(old, alive)

    def bury(self, removal: FoldRemoval) -> None:
        """Write a row tombstone."""
        key, timestamp = removal[:4], removal.timestamp
        self.tombstones[key] = max(timestamp, self.tombstones.get(key, 0))
        old = self.rows.get(key)
        left = None if old is None else without(old, timestamp)
        if left is not None:
            self.rows[key] = left
        elif old is not None:
            del self.rows[key]

    def drop(self) -> None:
        """Write a tombstone over all of it, above every timestamp."""
        self.rows.clear()
        self.tombstones.clear()
        self.dropped = True


def _columns(one: FoldEntry, other: FoldEntry) -> FoldEntry:
    """Per column the one with the higher timestamp; of equal ones the larger."""
    joined = cells.join(cells.from_entries((one.entry,)), cells.from_entries((other.entry,)))
    (row,) = cells.entries(joined)
    return one._replace(entry=row.packed, lane_seq=row.lane_seq, seen_seq=row.seen_seq)
