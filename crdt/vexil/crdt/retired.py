"""The retired table: what a change or the cells say about incarnations that write no more.

A retirement is an operation on `schema.RETIRED_OBJECT`: one field per incarnation, its value the final seq. Every node
that applies it takes the incarnation out of its vectors at the same point of the history. What cannot be read retires
nobody; it is a cell like any other.
"""

from __future__ import annotations

from collections.abc import Mapping

from vexil.crdt import cell as cells
from vexil.crdt import payload as payloads
from vexil.crdt.change import INCARNATION_MAX, NO_GENERATION, SEQ_MAX, Change, Dot
from vexil.crdt.schema import RETIRED_OBJECT, retired_field


def of_change(change: Change) -> dict[int, int]:
    """The incarnations that ``change`` retires, with their final seqs. None retires itself."""
    found = {}
    for name, generation, field, payload, _ in change.operations:
        if name == RETIRED_OBJECT and generation == NO_GENERATION:
            claim = _claim(field, payload)
            if claim is not None and claim[0] != change.incarnation:
                found[claim[0]] = claim[1]
    return found


def of_cells(fields: Mapping[str, bytes]) -> list[tuple[Dot, int, int]]:
    """What the cells of the table say: the dot of the change that said so, the incarnation, its final seq."""
    found = []
    for field, packed in fields.items():
        for lane in cells.lanes(packed):
            claim = _claim(field, lane.payload)
            if claim is not None and claim[0] != lane.incarnation:
                found.append(((lane.incarnation, lane.seq), *claim))
    return found


def _claim(field: str, payload: bytes) -> tuple[int, int] | None:
    value = payloads.decode(payload).value
    try:
        incarnation = int(field, 16)
    except ValueError:
        return None
    if type(value) is not int or not 0 < value <= SEQ_MAX:
        return None
    if not 0 < incarnation <= INCARNATION_MAX or retired_field(incarnation) != field:
        return None
    return incarnation, value
