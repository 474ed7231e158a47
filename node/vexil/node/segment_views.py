"""What a project asks when it reads a segment again: a million members are read as a whole only if they must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vexil.crdt import schema
from vexil.crdt.cell import live
from vexil.crdt.generation import Cells, visible
from vexil.crdt.policy import lww, present
from vexil.crdt.segment_state import SegmentState, segment_document


def document_of(state: SegmentState | None) -> dict[str, Any] | None:
    """What is evaluated of a segment; None if there is none."""
    return None if state is None else segment_document(state)


def only_members(state: SegmentState, cells: Cells, fields: Sequence[str]) -> bool:
    """Whether the touched ``fields`` have changed who belongs to the segment, and nothing else that is read of it."""
    if not fields or not all(f.startswith(schema.MEMBER_PREFIX) or f == schema.EXISTS for f in fields):
        return False
    found = visible(cells)
    if len(found) != 1 or len(state.generations) != 1 or state.needs_review:
        return False
    existence = found[0]
    if (existence.generation, existence.epoch) != (state.generation, state.epoch):
        return False
    packed = cells[state.generation]
    members = [live(packed[f]) for f in fields if f != schema.EXISTS and f in packed]
    return not lww(existence.lanes).siblings and not any(present(lanes).siblings for lanes in members)
