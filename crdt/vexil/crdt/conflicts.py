"""What a reader found that a person should look at: races that somebody lost, and defects that were made safe.

Both are the same record, told apart by ``kind``. A race goes away when someone writes the cell having seen all its
siblings; a defect when someone writes a value that is sound. The id is a hash of the cell's path and of the sorted
dots of its siblings: equal at every node, and another one as soon as the siblings are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from vexil.crdt.cell import Lane
from vexil.crdt.change import Dot, render_id
from vexil.crdt.limits import json_defect
from vexil.crdt.payload import UNREADABLE, decode, is_tombstone
from vexil.crdt.policy import COMPARED_DEPTH_MAX, Outcome, Policy

ID_DIGITS: Final = 16

# Kinds are part of the public interface. Races:
LWW: Final = "lww"
EDIT_REMOVE: Final = "edit-remove"
KILL_RACE: Final = "off-wins"
NEEDS_REVIEW: Final = "needs-review"
CONCURRENT_CREATE: Final = "concurrent-create"
RULES_AND_TARGETING: Final = "rules-and-targeting"
# A change that a node could not issue again when it came back:
RETURNED: Final = "returned"
# Defects:
UNREADABLE_VALUE: Final = "unreadable"
INVALID_VALUE: Final = "invalid"
DANGLING_VARIANT: Final = "dangling-variant"
LIMIT_FLAG_BYTES: Final = "limit.flag_bytes"
LIMIT_VARIANTS: Final = "limit.variants"
LIMIT_RULES: Final = "limit.rules"
LIMIT_LOGIC_DEPTH: Final = "limit.logic_depth"
LIMIT_VALUE_DEPTH: Final = "limit.value_depth"
LIMIT_SEGMENT_MEMBERS: Final = "limit.segment_members"


@dataclass(frozen=True, slots=True)
class Sibling:
    """One live value of a cell, and who wrote it.

    ``value`` is JSON data; it is None too where the lane removes (``removed``) or cannot be read (not ``readable``).
    """

    change: str
    value: object
    author: str
    hlc: int
    incarnation: int
    removed: bool = False
    readable: bool = True
    place: tuple[str, str] | None = None
    """``(node, region)`` where that cannot be told by the incarnation, whose record may not be known any more."""


@dataclass(frozen=True, slots=True)
class ConflictRecord:
    """One race or defect. ``(object, generation, field)`` is the address of the cell to write in order to end it.

    ``winner`` is the change whose value is shown; None if none is. ``siblings`` are all live values, the winner's
    among them, newest first.
    """

    id: str
    kind: str
    object: str
    environment: str | None
    field: str
    winner: str | None
    siblings: tuple[Sibling, ...]
    generation: Dot
    reason: str = ""
    """Of a parked change: why it was not issued again."""


def conflict_id(path: Sequence[object], dots: Sequence[Dot]) -> str:
    """``ID_DIGITS`` hex digits over a path and the sorted dots of its siblings."""
    parts = [*map(str, path), *(render_id(dot) for dot in sorted(dots))]
    # Lengths keep the parts apart: names may contain any separator.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_DIGITS]


def sibling(lane: Lane) -> Sibling:
    """What one lane says."""
    author, value = decode(lane.payload)
    removed = is_tombstone(lane.payload)
    readable = removed or (
        value is not UNREADABLE and json_defect(value, depth_max=COMPARED_DEPTH_MAX) is None
    )
    return Sibling(
        change=render_id((lane.incarnation, lane.seq)),
        value=value if readable and not removed else None,
        author=author,
        hlc=lane.hlc,
        incarnation=lane.incarnation,
        removed=removed,
        readable=readable,
    )


def race(
    name: str, generation: Dot, field: str, *, policy: Policy, outcome: Outcome, environment: str | None
) -> ConflictRecord:
    """The record of a contested cell: ``outcome`` has siblings."""
    if policy is Policy.OFF_WINS:
        kind = KILL_RACE
    elif any(is_tombstone(lane.payload) for lane in outcome.siblings):
        kind = NEEDS_REVIEW if policy is Policy.GENERATION else EDIT_REMOVE
    else:
        kind = LWW
    return record(
        kind, name, generation, field, lanes=outcome.siblings, winner=outcome.winner, environment=environment
    )


def record(
    kind: str,
    name: str,
    generation: Dot,
    field: str,
    *,
    lanes: Sequence[Lane],
    winner: Lane | None = None,
    environment: str | None = None,
    path: Sequence[object] = (),
) -> ConflictRecord:
    """A record about ``lanes``. ``path`` extends the address in the id where a cell can have a race and a defect."""
    ordered = sorted(lanes, key=lambda lane: (lane.hlc, lane.incarnation, lane.seq), reverse=True)
    return ConflictRecord(
        id=conflict_id(
            (name, render_id(generation), field, *path), [(lane.incarnation, lane.seq) for lane in lanes]
        ),
        kind=kind,
        object=name,
        environment=environment,
        field=field,
        winner=None if winner is None else render_id((winner.incarnation, winner.seq)),
        siblings=tuple(map(sibling, ordered)),
        generation=generation,
    )


def defect(
    kind: str,
    name: str,
    generation: Dot,
    field: str,
    *,
    lanes: Sequence[Lane],
    environment: str | None = None,
) -> ConflictRecord:
    """The record of a cell whose value was replaced by a safe one."""
    return record(
        kind, name, generation, field, lanes=lanes, winner=None, environment=environment, path=(kind,)
    )


def in_order(records: list[ConflictRecord]) -> tuple[ConflictRecord, ...]:
    """``records`` in an order that does not depend on how cells arrived."""
    if len(records) > 1:
        records = sorted(records, key=lambda found: (found.field, found.kind, found.id))
    return tuple(records)
