"""Which parts of a cell are garbage: what no later change, and no other member's state, can need any more.

A dot is *stable* when every counted member has told that its store holds it. The change that says that a lane has been
replaced goes together with what it replaced, once both are stable: then there is nobody left who could bring the lane
again. The same holds for a cell that only says "removed" and for a deleted generation as a whole. Nothing that is not
stable ever goes, so a project's floor covers every dot that was taken out of it.

Collecting is invisible: it touches nothing that the root hash sums up or that a reader looks at. A tombstone beside a
live value stays (ADR 5: the pair is a conflict that people see), and so does a cell that is read by every lane it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from vexil.crdt import cell as cells
from vexil.crdt.change import EXISTS, NO_GENERATION, Dot
from vexil.crdt.payload import is_tombstone
from vexil.crdt.policy import Policy
from vexil.crdt.schema import policy_of

IsStable = Callable[[int, int], bool]
"""Of a dot: whether every counted member has it."""


class FoldRemoval(NamedTuple):
    """A row of a stored fold that goes: every part of it (lane, ``seen``) with a seq up to ``timestamp``."""

    object: str
    generation: Dot
    field: str
    incarnation: int
    timestamp: int


class Collected(NamedTuple):
    """A cell without its garbage; ``packed`` is `cell.EMPTY` if all of it is garbage."""

    packed: bytes
    removals: tuple[tuple[int, int], ...]
    """``(incarnation, timestamp)`` of what went; empty if nothing did."""


def collected(cell: bytes, is_stable: IsStable, *, removable: bool = True) -> Collected:
    """The cell without what is garbage. ``removable``: one that only says "removed" may go as a whole."""
    flat = cells.unpacked(cell)
    if len(flat) == cells.WIDTH and not flat[4] and not is_tombstone(flat[3]):
        return Collected(cell, ())  # nearly every cell there is
    if removable and _only_removed(flat) and _all_stable(flat, is_stable):
        return Collected(cells.EMPTY, tuple(_rows(flat)))
    kept: cells.Flat = []
    removals = []
    for i in range(0, len(flat), cells.WIDTH):
        incarnation, lane_seq, _, _, seen_seq, by_incarnation, by_seq = flat[i : i + cells.WIDTH]
        if seen_seq and is_stable(by_incarnation, by_seq) and is_stable(incarnation, seen_seq):
            removals.append((incarnation, seen_seq))
            if lane_seq > seen_seq:
                kept += (*flat[i : i + 4], 0, 0, 0)
        else:
            kept += flat[i : i + cells.WIDTH]
    return Collected(cells.pack(kept), tuple(removals)) if removals else Collected(cell, ())


def collected_object(
    name: str, generations: Mapping[Dot, Mapping[str, bytes]], is_stable: IsStable
) -> tuple[dict[Dot, dict[str, bytes]], list[FoldRemoval]]:
    """What changes in an object, ``cell.EMPTY`` for a cell that goes, and the rows that go with it."""
    changes: dict[Dot, dict[str, bytes]] = {}
    removals: list[FoldRemoval] = []
    for generation, fields in generations.items():
        whole = generation != NO_GENERATION and _is_gone(fields, is_stable)
        for field, packed in fields.items():
            if whole:
                after = Collected(cells.EMPTY, tuple(_rows(cells.unpacked(packed))))
            elif generation != NO_GENERATION and field == EXISTS:
                # A generation is dead because its existence says so: that goes with the last of its cells.
                after = collected(packed, is_stable, removable=False)
            else:
                after = collected(packed, is_stable)
                if after.packed == cells.EMPTY and policy_of(name, generation, field) is Policy.ONCE:
                    after = collected(packed, is_stable, removable=False)
            if after.removals:
                changes.setdefault(generation, {})[field] = after.packed
                removals += [FoldRemoval(name, generation, field, *row) for row in after.removals]
    return changes, removals


def _is_gone(fields: Mapping[str, bytes], is_stable: IsStable) -> bool:
    """Whether a generation is deleted for good: nobody can bring it back, or write to it, any more."""
    existence = fields.get(EXISTS)
    return (
        existence is not None
        and _only_removed(cells.unpacked(existence))
        and all(_all_stable(cells.unpacked(packed), is_stable) for packed in fields.values())
    )


def _only_removed(flat: cells.Flat) -> bool:
    """Whether every live lane is a tombstone."""
    return all(
        is_tombstone(flat[i + 3]) for i in range(0, len(flat), cells.WIDTH) if flat[i + 1] > flat[i + 4]
    )


def _all_stable(flat: cells.Flat, is_stable: IsStable) -> bool:
    for i in range(0, len(flat), cells.WIDTH):
        incarnation, lane_seq, _, _, seen_seq, by_incarnation, by_seq = flat[i : i + cells.WIDTH]
        if not is_stable(incarnation, max(lane_seq, seen_seq)):
            return False
        if seen_seq and not is_stable(by_incarnation, by_seq):
            return False
    return True


def _rows(flat: cells.Flat) -> list[tuple[int, int]]:
    return [(flat[i], max(flat[i + 1], flat[i + 4])) for i in range(0, len(flat), cells.WIDTH)]
