"""What ``_system`` says about projects, keys and members. Their objects have no generations and are never re-created.

As everywhere in reading: total, and a value that cannot be used is replaced by the safe one. What these objects lost in
races is told by ``plain_object.object_conflicts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vexil.crdt import schema
from vexil.crdt.cell import Lane, lanes, live
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.generation import Cells
from vexil.crdt.limits import json_defect
from vexil.crdt.payload import decode
from vexil.crdt.plain_object import PlainReader
from vexil.crdt.policy import latest, revoked

BUCKETINGS: Final = ("v2", "v3")
BUCKETING_DEFAULT: Final = "v3"
RECORD_DEPTH_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class ProjectState:
    """A project: its environments, sorted, and how a split chooses its bucket."""

    exists: bool
    environments: tuple[str, ...]
    bucketing: str


@dataclass(frozen=True, slots=True)
class KeyState:
    """An access key. One without a readable record opens nothing; a revoked one stays revoked."""

    record: Mapping[str, Any] | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class MemberState:
    """A slot of the cluster. ``current`` is the incarnation that runs in it; None if that cannot be told.

    A registration is one joining of the slot: 16 hex digits, or "" in a record that names none.
    """

    registered: bool
    """There is a record, and its registration has not been evicted."""
    region: str
    peer_url: str
    http_url: str
    current: int | None
    incarnations: Mapping[int, tuple[str, str]]
    """Incarnation to ``(node, region)``, for who and where of every lane it wrote."""
    registration: str = ""
    """The one that the record names."""
    evicted: Mapping[str, Dot] = field(default_factory=dict)
    """Every registration that was evicted, with a change that says so."""
    superseded: Mapping[str, Dot] = field(default_factory=dict)
    """Registrations that lost a race for the slot and that nobody has evicted yet, with the change that won."""

    def holds(self, registration: str) -> bool:
        """Whether ``registration`` is this member's, today."""
        return self.registered and self.registration == registration


def read_project(cells: Cells) -> ProjectState:
    """A project; one that nobody has written does not exist and has no environments."""
    values = _values(schema.PROJECT, cells)
    bucketing = values.get(schema.BUCKETING)
    environments = values.get(schema.ENVIRONMENT, {})
    return ProjectState(
        exists=schema.EXISTS in values,
        environments=tuple(sorted(filter(schema.is_environment_name, environments))),
        bucketing=bucketing if bucketing in BUCKETINGS else BUCKETING_DEFAULT,
    )


def read_key(cells: Cells) -> KeyState:
    """An access key."""
    record = _record(_values(schema.KEY, cells).get(schema.RECORD))
    packed = cells.get(NO_GENERATION, {}).get(schema.REVOKED)
    return KeyState(record or None, packed is not None and revoked(lanes(packed)))


def read_member(cells: Cells) -> MemberState:
    """A member; text that cannot be read is "", so nobody dials it."""
    values = _values(schema.MEMBER, cells)
    record = _record(values.get(schema.RECORD))
    current = values.get(schema.CURRENT)
    incarnations = {}
    for digits, value in sorted(values.get(schema.INCARNATION, {}).items()):
        incarnation = _incarnation(digits)
        if incarnation is not None:
            home = _record(value)
            incarnations[incarnation] = (_text(home, "node"), _text(home, "region"))
    evicted = _evicted(cells)
    registration = _registration(record)
    return MemberState(
        registered=schema.RECORD in values and registration not in evicted,
        region=_text(record, "region"),
        peer_url=_text(record, "peer_url"),
        http_url=_text(record, "http_url"),
        current=current if type(current) is int else None,
        incarnations=incarnations,
        registration=registration,
        evicted=evicted,
        superseded=_superseded(cells, registration, evicted),
    )


def _evicted(cells: Cells) -> dict[str, Dot]:
    """Whatever an eviction holds, and whether its lane is dead: that it was written once is enough."""
    found: dict[str, Dot] = {}
    prefix = schema.evicted_field("")
    for name, packed in sorted(cells.get(NO_GENERATION, {}).items()):
        registration = name.removeprefix(prefix)
        if not name.startswith(prefix) or (registration and not schema.is_registration(registration)):
            continue
        every_lane = lanes(packed)
        if revoked(every_lane):
            # Each of them says it; all nodes with the same cells name the same one.
            found[registration] = min(_dot(lane) for lane in every_lane)
    return found


def _superseded(cells: Cells, registration: str, evicted: Mapping[str, Dot]) -> dict[str, Dot]:
    packed = cells.get(NO_GENERATION, {}).get(schema.RECORD)
    beside = () if packed is None else live(packed)
    winner = latest(beside)
    if winner is None or len(beside) < 2:
        return {}
    lost = {_registration(_record(decode(lane.payload).value)) for lane in beside if lane is not winner}
    return {other: _dot(winner) for other in sorted(lost - {registration, ""}) if other not in evicted}


def _dot(lane: Lane) -> Dot:
    return lane.incarnation, lane.seq


def _registration(record: Mapping[str, Any]) -> str:
    text = _text(record, "registration")
    return text if schema.is_registration(text) else ""


def _values(kind: str, cells: Cells) -> Mapping[str, Any]:
    return PlainReader(kind, kind, cells).values


def _record(value: object) -> Mapping[str, Any]:
    if isinstance(value, dict) and json_defect(value, depth_max=RECORD_DEPTH_MAX) is None:
        return value
    return {}


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""


def _incarnation(digits: str) -> int | None:
    try:
        incarnation = int(digits, 16)
    except ValueError:
        return None
    return (
        incarnation
        if incarnation > 0 and schema.incarnation_field(incarnation) == f"incarnation/{digits}"
        else None
    )
