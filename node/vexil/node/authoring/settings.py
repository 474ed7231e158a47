"""Projects, access keys, and what an environment's flagd document has beside its flags.

Their objects have no generations: nothing of them is ever created twice, and each field is written for itself. All but
the flagd part live in the project `_system`, whose view is then the one to decide against.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgpack

from vexil.crdt import schema
from vexil.crdt.cell import lanes, live
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.limits import ENVIRONMENT_NAME_BYTES_MAX, json_defect
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.crdt.policy import MISSING, lww, revoked
from vexil.crdt.system_state import BUCKETINGS, RECORD_DEPTH_MAX, read_project
from vexil.crdt.validity import logic_defect, scalar_defect
from vexil.node.authoring.if_match import Condition
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.json_data import Mistakes, look_through, pointer, same
from vexil.node.authoring.limits import (
    ENVIRONMENTS_MAX,
    FLAGD_PART_BYTES_MAX,
    KEY_RECORD_BYTES_MAX,
    refuse_over,
)
from vexil.node.authoring.rules import refuse_depth
from vexil.node.authoring.view import View
from vexil.node.authoring.workspace import refuse_too_much
from vexil.node.errors import Exists, NotFound

ENVIRONMENT_KIND: Final = "environment"
FLAGD_PART: Final = "flagd"


class PlainSheet:
    """The working copy of an object without generations: values by field, and in the end what differs."""

    __slots__ = ("_fields", "_set", "name")

    def __init__(self, view: View, name: str) -> None:
        self.name = name
        self._fields: Mapping[str, bytes] = view.replica.cells(name).get(NO_GENERATION, {})
        self._set: dict[str, object] = {}

    def shown(self, field: str) -> object:
        """What the state says; MISSING if nothing."""
        packed = self._fields.get(field)
        return MISSING if packed is None else lww(live(packed)).value

    def names(self, prefix: str) -> list[str]:
        """The rest of the name of every field of the state that begins with ``prefix`` and has a value."""
        found = (f for f in self._fields if f.startswith(prefix) and self.shown(f) is not MISSING)
        return sorted(field.removeprefix(prefix) for field in found)

    def put(self, field: str, value: object) -> None:
        """Set the field; MISSING removes it."""
        self._set[field] = value

    def replace(self, prefix: str, wanted: Mapping[str, object]) -> None:
        """Make the entries under ``prefix`` those of ``wanted``."""
        for name in self.names(prefix):
            if name not in wanted:
                self.put(prefix + name, MISSING)
        for name, value in wanted.items():
            self.put(prefix + name, value)

    def writes(self) -> list[CellWrite]:
        """What differs from the state."""
        found = []
        for field, value in sorted(self._set.items()):
            shown = self.shown(field)
            if value is MISSING and shown is not MISSING:
                found.append(CellWrite(self.name, NO_GENERATION, field, TOMBSTONE))
            elif value is not MISSING and (shown is MISSING or not same(value, shown)):
                found.append(CellWrite(self.name, NO_GENERATION, field, value))
        return found

    def intent(self, *, created: bool = False) -> Intent:
        """The outcome. Raises LimitExceeded."""
        writes = self.writes()
        refuse_too_much(writes)
        name = frozenset((self.name,))
        return Intent(writes, reads=name, created=name if created else frozenset())


# -- projects


def put_project(system: View, name: str, body: object, *, if_match: str | None = None) -> Intent:
    """``PUT /projects/{p}`` with ``{"environments", "bucketing"}``: create, or change what is named.

    An environment that a later PUT leaves out is not shown any more; what was written in it is kept, and is there
    again when the environment comes back. Raises Invalid, Stale, Malformed, LimitExceeded.
    """
    kind = schema.PROJECT
    look_through(kind, body)
    sheet = PlainSheet(system, schema.project_object(name))
    cells = system.replica.cells(sheet.name)
    project = read_project(cells)

    def current() -> object:
        return {"name": name, "environments": list(project.environments), "bucketing": project.bucketing}

    condition = Condition(if_match, kind=kind, cells=cells, current=current)
    condition.check_existence(generation=NO_GENERATION if project.exists else None)
    mistakes = Mistakes(kind)
    if not schema.is_name(name, bytes_max=schema.NAME_BYTES_MAX[kind]):
        mistakes.add("", f"{name[:100]!r} cannot be the name of a project")
    members = mistakes.mapping("", body)
    mistakes.only("", members, frozenset(("name", "environments", "bucketing")))
    if "name" in members and members["name"] != name:
        mistakes.add("/name", "cannot change")
    if members.get("environments") is not None:
        before = len(project.environments)
        wanted = _environments(members["environments"], mistakes, before=before)
        sheet.replace(schema.project_environment_field(""), wanted)
    bucketing = members.get("bucketing")
    if bucketing is not None:
        if bucketing not in BUCKETINGS:
            mistakes.add("/bucketing", f"must be one of {', '.join(BUCKETINGS)}")
        sheet.put(schema.BUCKETING, bucketing)
    mistakes.refuse()
    if not project.exists:
        sheet.put(schema.EXISTS, value=True)
    condition.check_touched((NO_GENERATION, write.field) for write in sheet.writes())
    return sheet.intent(created=not project.exists)


def _environments(value: object, mistakes: Mistakes, *, before: int) -> dict[str, object]:
    sent = mistakes.array("/environments", value)
    refuse_over("environments", len(sent), ENVIRONMENTS_MAX, before=before, unit="environments")
    bytes_max = ENVIRONMENT_NAME_BYTES_MAX
    names = [mistakes.name(f"/environments/{i}", item, bytes_max=bytes_max) for i, item in enumerate(sent)]
    return dict.fromkeys(names, True)


# -- keys


def create_key(system: View, key_id: str, record: Mapping[str, Any]) -> Intent:
    """A new access key; ``record`` is what requests are judged by, the key itself is not in it. Raises Exists."""
    look_through(schema.KEY, record)
    sheet = PlainSheet(system, schema.key_object(key_id))
    refuse_over("key_record_bytes", len(msgpack.packb(record)), KEY_RECORD_BYTES_MAX, unit="bytes")
    mistakes = Mistakes(schema.KEY)
    if not schema.is_name(key_id, bytes_max=schema.NAME_BYTES_MAX[schema.KEY]):
        mistakes.add("/id", "cannot be the id of a key")
    if not record or json_defect(record, depth_max=RECORD_DEPTH_MAX) is not None:
        mistakes.add("", "is not the record of a key")
    mistakes.refuse()
    if _was_written(system, sheet.name):
        raise Exists(schema.KEY, key_id)
    sheet.put(schema.RECORD, dict(record))
    return sheet.intent(created=True)


def revoke_key(system: View, key_id: str) -> Intent:
    """Revoke a key, for good; empty if it is revoked already. Raises NotFound."""
    name = schema.key_object(key_id)
    if not _was_written(system, name):
        raise NotFound(schema.KEY, key_id)
    packed = system.replica.cells(name).get(NO_GENERATION, {}).get(schema.REVOKED)
    if packed is not None and revoked(lanes(packed)):
        return Intent(reads=frozenset((name,)))
    return Intent([CellWrite(name, NO_GENERATION, schema.REVOKED, value=True)], reads=frozenset((name,)))


def _was_written(system: View, name: str) -> bool:
    return bool(system.replica.cells(name).get(NO_GENERATION))


# -- the flagd part


def put_flagd_part(view: View, environment: str, body: object, *, if_match: str | None = None) -> Intent:
    """``PUT …/environments/{env}/flagd`` with ``{"evaluators", "metadata"}``: both as a whole, absent is empty.

    Raises NotFound for an unknown environment, Invalid, Stale, Malformed, LimitExceeded.
    """
    if environment not in view.environments:
        raise NotFound(ENVIRONMENT_KIND, environment)
    look_through(FLAGD_PART, body)
    sheet = PlainSheet(view, schema.flagd_object(environment))

    def current() -> object:
        parts = ((f"{part}s" if part == schema.EVALUATOR else part, part) for part in _FLAGD_PARTS)
        return {
            name: {entry: sheet.shown(f"{part}/{entry}") for entry in sheet.names(f"{part}/")}
            for name, part in parts
        }

    condition = Condition(if_match, kind=FLAGD_PART, cells=view.replica.cells(sheet.name), current=current)
    condition.check_existence(generation=NO_GENERATION)
    mistakes = Mistakes(FLAGD_PART)
    members = mistakes.mapping("", body)
    mistakes.only("", members, frozenset(("evaluators", "metadata")))
    evaluators = flagd_entries(schema.EVALUATOR, members.get("evaluators"), "/evaluators", mistakes)
    metadata = flagd_entries(schema.METADATA, members.get("metadata"), "/metadata", mistakes)
    mistakes.refuse()
    refuse_over(
        "flagd_part_bytes", len(msgpack.packb([evaluators, metadata])), FLAGD_PART_BYTES_MAX, unit="bytes"
    )
    sheet.replace(schema.evaluator_field(""), evaluators)
    sheet.replace(schema.metadata_field(""), metadata)
    condition.check_touched((NO_GENERATION, write.field) for write in sheet.writes())
    return sheet.intent()


_FLAGD_PARTS: Final = (schema.EVALUATOR, schema.METADATA)


def flagd_entries(part: str, value: object, path: str, mistakes: Mistakes) -> dict[str, object]:
    """Evaluators or set metadata, looked through; ``null`` entries are left out. Raises LimitExceeded for depth."""
    found: dict[str, object] = {}
    for name, item in ({} if value is None else mistakes.mapping(path, value)).items():
        at = pointer(path, name)
        mistakes.text(at, name)
        if item is None:
            continue
        if part == schema.EVALUATOR:
            refuse_depth(item)
        mistake = plain_value_mistake(schema.FLAGD, f"{part}/{name}", item)
        if mistake is not None:
            mistakes.add(at, mistake)
        found[name] = item
    return found


def plain_value_mistake(kind: str, field: str, value: object) -> str | None:
    """Why ``value`` cannot stand in a field of an object without generations; None if it can."""
    part = schema.parse_field(kind, NO_GENERATION, field).part
    if kind == schema.FLAGD and part == schema.EVALUATOR:
        return None if logic_defect(value) is None else "is not a rule"
    if kind == schema.FLAGD and part == schema.METADATA:
        return None if scalar_defect(value) is None else "must be a text, a number, true or false"
    if kind == schema.PROJECT and part == schema.BUCKETING:
        return None if value in BUCKETINGS else f"must be one of {', '.join(BUCKETINGS)}"
    if kind == schema.PROJECT and part in (schema.ENVIRONMENT, schema.EXISTS):
        return None if value is True else "must be true or false"
    return "cannot be answered here"
