"""Parked changes: what a node that came back could not issue again, kept for a person to look at.

The object ``parked/<incarnation>.<seq>`` is named after the old change; its field ``change/<object>`` holds what that
change would have written into one object, and who wanted it, where, when, and why it is not there::

    {"reason", "object", "operations": [[generation or null, field, value], ...], "author", "message", "hlc",
     "time", "node", "region"}

An operation of two items removes; a fourth item holds, in hex, a payload that could not be read. A generation is the
id of the change that created it; the parked change's own id means that it creates the object.

Reading is total: a field that says nothing of the kind is passed over. A parked change is told as a conflict between
itself and what its object says now, so the record is another one as soon as that has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vexil.crdt import schema
from vexil.crdt.cell import Lane, has_value, live
from vexil.crdt.change import (
    EXISTS,
    INCARNATION_MAX,
    NO_GENERATION,
    SEQ_MAX,
    Change,
    Dot,
    parse_id,
    render_id,
)
from vexil.crdt.conflicts import RETURNED, ConflictRecord, Sibling, conflict_id
from vexil.crdt.generation import Cells, shown_generation
from vexil.crdt.hlc import milliseconds, render_time
from vexil.crdt.limits import json_defect
from vexil.crdt.payload import TOMBSTONE, UNREADABLE, decode
from vexil.crdt.policy import COMPARED_DEPTH_MAX, latest

MESSAGE_CHARACTERS_MAX: Final = 512
"""Of a longer message the beginning is kept: it stands once in every object that the change was about."""
PRESENT_LANES_MAX: Final = 4096
"""Lanes that a record compares with: as many as one change can have written."""
_NAME: Final = re.compile(r"([0-9a-f]{16})\.([1-9][0-9]{0,18})", re.ASCII)
_WITH_GENERATIONS: Final = frozenset((schema.FLAG, schema.SEGMENT))


class ParkedWrite(NamedTuple):
    """One cell that the old change would have written; ``generation`` is None for cells that belong to none."""

    generation: Dot | None
    field: str
    value: object
    removed: bool = False
    payload: bytes | None = None
    """The bytes of a value that could not be read."""


class ParkedChange(NamedTuple):
    """What one old change would have written into one object."""

    change: Dot
    object: str
    writes: tuple[ParkedWrite, ...]
    reason: str
    author: str
    message: str
    hlc: int
    node: str
    region: str
    lane: Lane
    """Where this is kept."""

    @property
    def readable(self) -> bool:
        """Whether every value can be read."""
        return all(write.payload is None for write in self.writes)

    @property
    def creates(self) -> bool:
        """Whether it would bring its object into being."""
        return any(w.generation == self.change and w.field == EXISTS and not w.removed for w in self.writes)

    @property
    def type(self) -> str:
        """The type of the flag that it would create; "" if it says none."""
        return created_type(self.change, self.writes)

    @property
    def deletes(self) -> bool:
        """Whether it would delete its object, and not make it anew."""
        return not self.creates and any(w.field == EXISTS and w.removed for w in self.writes)

    @property
    def shown(self) -> list[ParkedWrite]:
        """The writes that tell a person something: not that the object exists, which each edit says again."""
        return [w for w in self.writes if w.field != EXISTS and not _is_epoch(w)]


def created_type(change: Dot, writes: Sequence[ParkedWrite]) -> str:
    """The type of the flag that ``change`` creates by ``writes``; "" if it says none."""
    for write in writes:
        if write.generation == change and write.field == EXISTS and isinstance(write.value, dict):
            told = write.value.get("type")
            return told if isinstance(told, str) else ""
    return ""


def writes_of(change: Change) -> dict[str, list[ParkedWrite]]:
    """What ``change`` writes, by object, in its order."""
    found: dict[str, list[ParkedWrite]] = {}
    for operation in change.operations:
        generation = None if operation.generation == NO_GENERATION else operation.generation
        value = decode(operation.payload).value
        removed = value is TOMBSTONE
        junk = not removed and (
            value is UNREADABLE or json_defect(value, depth_max=COMPARED_DEPTH_MAX) is not None
        )
        found.setdefault(operation.object, []).append(
            ParkedWrite(
                generation,
                operation.field,
                None if removed or junk else value,
                removed,
                operation.payload if junk else None,
            )
        )
    return found


def parked_value(
    change: Change, name: str, writes: Sequence[ParkedWrite], *, reason: str, place: tuple[str, str] | None
) -> dict[str, Any]:
    """What is kept of ``change`` about the object ``name``; ``place`` is the node and region that took it."""
    node, region = place or ("", "")
    return {
        "reason": reason,
        "object": name,
        "operations": [_operation(write) for write in writes],
        "author": change.author,
        "message": change.message[:MESSAGE_CHARACTERS_MAX],
        "hlc": change.hlc,
        "time": render_time(milliseconds(change.hlc)),
        "node": node,
        "region": region,
    }


def _operation(write: ParkedWrite) -> list[object]:
    generation = None if write.generation is None else render_id(write.generation)
    if write.removed:
        return [generation, write.field]
    if write.payload is not None:
        return [generation, write.field, None, write.payload.hex()]
    return [generation, write.field, write.value]


def parse_name(name: str) -> Dot | None:
    """The old change that the object ``parked/<name>`` is about; None if it is about none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    dot = (int(match[1], 16), int(match[2]))
    return dot if 0 < dot[0] <= INCARNATION_MAX and dot[1] <= SEQ_MAX else None


def read_parked(name: str, cells: Cells) -> tuple[ParkedChange, ...]:
    """What the object ``parked/<name>`` holds, by the object that it is about. Total: junk is passed over."""
    change = parse_name(name)
    if change is None:
        return ()
    found = []
    prefix = schema.parked_field("")
    for field, packed in sorted(cells.get(NO_GENERATION, {}).items()):
        lane = latest(live(packed)) if field.startswith(prefix) else None
        if lane is not None:
            parked = _parked(change, field.removeprefix(prefix), lane)
            if parked is not None:
                found.append(parked)
    return tuple(found)


def _parked(change: Dot, name: str, lane: Lane) -> ParkedChange | None:
    value = decode(lane.payload).value
    if not isinstance(value, dict) or value.get("object") != name:
        return None
    operations, hlc = value.get("operations"), value.get("hlc")
    if (
        not isinstance(operations, list)
        or not operations
        or type(hlc) is not int
        or not 0 <= hlc <= INCARNATION_MAX
    ):
        return None
    writes = [_write(operation) for operation in operations]
    sound = [write for write in writes if write is not None]
    if len(sound) < len(writes) or len({(w.generation, w.field) for w in sound}) < len(sound):
        return None
    texts = {part: value.get(part) for part in ("reason", "author", "message", "node", "region")}
    reason, author, message, node, region = (t if isinstance(t, str) else "" for t in texts.values())
    return ParkedChange(change, name, tuple(sound), reason, author, message, hlc, node, region, lane)


def _write(operation: object) -> ParkedWrite | None:
    if not isinstance(operation, list) or not 2 <= len(operation) <= 4:
        return None
    told, field, *rest = operation
    generation = parse_id(told) if isinstance(told, str) else None
    if not isinstance(field, str) or (
        told is not None and (generation is None or generation == NO_GENERATION)
    ):
        return None
    if not rest:
        return ParkedWrite(generation, field, None, removed=True)
    if len(rest) == 1 and json_defect(rest[0], depth_max=COMPARED_DEPTH_MAX) is None:
        return ParkedWrite(generation, field, rest[0])
    if len(rest) == 2 and isinstance(rest[1], str):
        try:
            return ParkedWrite(generation, field, None, payload=bytes.fromhex(rest[1]))
        except ValueError:
            return None
    return None


def _is_epoch(write: ParkedWrite) -> bool:
    # Of a deleted generation; it says nothing to a person.
    return write.generation is not None and write.field == "epoch"


# -- as a conflict


def returned_record(parked: ParkedChange, cells: Cells) -> ConflictRecord:
    """The conflict of ``parked`` with what its object, whose cells are ``cells``, says now.

    The siblings are the parked value, named by the old change, and the present one (none if the object is not there),
    which wins.
    """
    shown = parked.shown
    present, winner = _present(parked, cells)
    fields = {write.field for write in shown}
    only = shown[0] if len(shown) == 1 and not parked.creates and not parked.deletes else None
    said = Sibling(
        change=render_id(parked.change),
        value=_value(only, shown) if parked.readable and not parked.deletes else None,
        author=parked.author,
        hlc=parked.hlc,
        incarnation=parked.change[0],
        removed=parked.deletes or (only is not None and only.removed),
        readable=parked.readable,
        place=(parked.node, parked.region) if parked.node else None,
    )
    siblings = [said]
    if winner is not None:
        values = {
            field: value
            for field in sorted(fields)
            if (value := _shown(present.get(field, ()))) is not TOMBSTONE
        }
        siblings.append(
            Sibling(
                change=render_id((winner.incarnation, winner.seq)),
                value=values.get(only.field) if only is not None else values,
                author=decode(winner.payload).author,
                hlc=winner.hlc,
                incarnation=winner.incarnation,
                removed=only is not None and only.field not in values,
            )
        )
    lane = parked.lane
    dots = [(lane.incarnation, lane.seq)]
    dots += [(each.incarnation, each.seq) for lanes in present.values() for each in lanes]
    return ConflictRecord(
        id=conflict_id((schema.parked_object(parked.change), parked.object, RETURNED), dots),
        kind=RETURNED,
        object=parked.object,
        environment=_environment(parked.object, shown),
        field=only.field if only is not None else EXISTS if parked.creates or parked.deletes else "",
        winner=None if winner is None else render_id((winner.incarnation, winner.seq)),
        siblings=tuple(siblings),
        generation=NO_GENERATION,
        reason=parked.reason,
    )


def _present(parked: ParkedChange, cells: Cells) -> tuple[Mapping[str, Sequence[Lane]], Lane | None]:
    """The live lanes of the cells that the change would write now, by field, and the one that stands for all."""
    generation: Dot | None = NO_GENERATION
    if parked.object.partition("/")[0] in _WITH_GENERATIONS:
        generation = shown_generation(cells)
    found: dict[str, Sequence[Lane]] = {}
    left = PRESENT_LANES_MAX
    whole = parked.creates or parked.deletes
    for write in parked.writes:
        at = NO_GENERATION if write.generation is None else generation
        if at is not None and (whole or write.field != EXISTS) and left > 0:
            packed = cells.get(at, {}).get(write.field)
            # A cell that only says "removed" is garbage one day, at another moment on each node: nothing is there.
            found[write.field] = () if packed is None or not has_value(packed) else live(packed)[:left]
            left -= len(found[write.field])
    winner = latest([lane for lanes in found.values() for lane in lanes])
    if winner is None and generation is not None:
        # Nothing is said there: whoever has said that the object exists stands for it.
        winner = latest(live(cells.get(generation, {}).get(EXISTS, b"\x90")))
    if generation is None:
        # Kill switches outlive their flag, but there is nothing that they could stand for.
        winner = None
    return found, winner


def _shown(lanes: Sequence[Lane]) -> object:
    lane = latest(lanes)
    if lane is None:
        return TOMBSTONE
    value = decode(lane.payload).value
    return None if value is UNREADABLE else value


def _value(only: ParkedWrite | None, shown: Sequence[ParkedWrite]) -> object:
    if only is not None:
        return only.value
    return {write.field: write.value for write in shown if not write.removed}


def _environment(name: str, writes: Sequence[ParkedWrite]) -> str | None:
    kind = schema.parse_object(name)
    if kind is None or kind[0] != schema.FLAG or not writes:
        return None
    environments = set(_environments(writes))
    return environments.pop() if len(environments) == 1 else None


def _environments(writes: Sequence[ParkedWrite]) -> Iterator[str | None]:
    for write in writes:
        generation = NO_GENERATION if write.generation is None else write.generation
        parsed = schema.parse_field(schema.FLAG, generation, write.field)
        yield parsed.name if parsed.part == schema.KILL and parsed.environment is None else parsed.environment
