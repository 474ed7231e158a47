"""What an environment's flagd document has beside its flags: shared rules (``$evaluators``) and set metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vexil.crdt import schema
from vexil.crdt.conflicts import ConflictRecord, in_order
from vexil.crdt.generation import Cells
from vexil.crdt.plain_object import PlainReader
from vexil.crdt.validity import logic_defect, scalar_defect


@dataclass(frozen=True, slots=True)
class FlagdState:
    """Evaluators and metadata, each sorted by name; one that cannot be used is left out and recorded."""

    evaluators: Mapping[str, Any]
    metadata: Mapping[str, Any]
    conflicts: tuple[ConflictRecord, ...]
    problems: tuple[ConflictRecord, ...]


def read_flagd(environment: str, cells: Cells) -> FlagdState:
    """The flagd part of ``environment``; empty if nothing was ever written."""
    reader = PlainReader(schema.FLAGD, schema.flagd_object(environment), cells)
    evaluators = _sound(reader, schema.EVALUATOR, logic_defect)
    metadata = _sound(reader, schema.METADATA, scalar_defect)
    return FlagdState(evaluators, metadata, in_order(reader.races), in_order(reader.defects))


def _sound(reader: PlainReader, part: str, defect_of: Callable[[object], str | None]) -> Mapping[str, Any]:
    sound = {}
    for name, value in sorted(reader.values.get(part, {}).items()):
        defect = defect_of(value)
        if defect is None:
            sound[name] = value
        else:
            reader.defect(defect, f"{part}/{name}")
    return sound
