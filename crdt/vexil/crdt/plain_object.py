"""Objects without generations: projects, keys, members, and what flagd documents have beside their flags.

All their cells stand under ``NO_GENERATION``; they are never deleted and re-created as a whole.
"""

from __future__ import annotations

from typing import Any

from vexil.crdt import schema
from vexil.crdt.cell_reader import CellReader
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.conflicts import UNREADABLE_VALUE, ConflictRecord, in_order
from vexil.crdt.generation import Cells
from vexil.crdt.payload import UNREADABLE
from vexil.crdt.policy import MISSING, Policy


class PlainReader(CellReader):
    """Reads such an object whole: ``values`` has plain fields by part, map entries and elements by part and name."""

    __slots__ = ("values",)

    def __init__(self, kind: str, name: str, cells: Cells) -> None:
        """A reader of the object ``name`` of ``kind``. A payload that cannot be read counts as absent."""
        super().__init__(name, NO_GENERATION, cells.get(NO_GENERATION, {}))
        self.values: dict[str, Any] = {}
        for field, packed in self.fields.items():
            part, policy, environment, entry = schema.parse_field(kind, NO_GENERATION, field)
            if policy is Policy.OFF_WINS:
                self.killed(field, packed, environment or "")
            if policy in {Policy.OPAQUE, Policy.ONCE, Policy.OFF_WINS}:
                continue
            value = self.value(field, packed, policy)
            if value is UNREADABLE:
                self.defect(UNREADABLE_VALUE, field)
            elif value is not MISSING and field == part:
                self.values[part] = value
            elif value is not MISSING:
                self.values.setdefault(part, {})[entry] = value


def object_conflicts(name: str, cells: Cells) -> tuple[ConflictRecord, ...]:
    """Races and unreadable values in the cells of ``name`` that belong to no generation."""
    parsed = schema.parse_object(name)
    if parsed is None or NO_GENERATION not in cells:
        return ()
    reader = PlainReader(parsed[0], name, cells)
    return in_order(reader.races + reader.defects)
