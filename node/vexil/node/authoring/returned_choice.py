"""An author's answer to a parked change: it shall be done now, or it is not wanted any more.

Chosen, its writes are made on what is there now, in a change of the author's own, and are held to the rules of any
edit; a parked create creates. Dismissed, by choosing the present value or with a ``null``, nothing of it is written.
Either way it is parked no longer.
"""

from __future__ import annotations

from typing import Final

from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION, parse_id
from vexil.crdt.conflicts import ConflictRecord, Sibling
from vexil.crdt.parked import ParkedChange, read_parked
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.old_writes import OldWrites
from vexil.node.authoring.view import View
from vexil.node.authoring.workspace import Workspace
from vexil.node.errors import ConflictChanged, FieldError, Invalid

_CONFLICT: Final = "conflict"
_SHEETS: Final = frozenset((schema.FLAG, schema.SEGMENT))


def resolve_returned(view: View, record: ConflictRecord, chosen: Sibling | None, value: object) -> Intent:
    """Decide what becomes of the parked change of ``record``, which is one of ``view.conflicts()``.

    ``chosen`` is one of its siblings; without one, ``value`` must be None. Raises ConflictChanged, Invalid, and what
    the edit itself raises: NotFound, InUse, VariantInUse, LimitExceeded.
    """
    if chosen is None and value is not None:
        raise _refusal("/value", "must be null, which dismisses what was parked")
    parked = _parked(view, record)
    answer = OldWrites(Workspace(view))
    if chosen is not None and chosen.change != record.winner:
        _write(answer, parked)
    name, field = schema.parked_object(parked.change), schema.parked_field(parked.object)
    answer.add([CellWrite(name, NO_GENERATION, field, TOMBSTONE)])
    return answer.intent()


def _parked(view: View, record: ConflictRecord) -> ParkedChange:
    for sibling in record.siblings:
        change = parse_id(sibling.change)
        if change is not None and sibling.change != record.winner:
            name = schema.parked_object(change)
            for parked in read_parked(name.partition("/")[2], view.replica.cells(name)):
                if parked.object == record.object:
                    return parked
    raise ConflictChanged(record.id)


def _write(answer: OldWrites, parked: ParkedChange) -> None:
    kind = (schema.parse_object(parked.object) or ("", ""))[0]
    if kind == schema.MEMBER:
        raise _refusal("/choose", "cannot be done again: use `vexil member`")
    if kind in _SHEETS:
        answer.edit(
            parked.object,
            parked.writes,
            create=parked.creates,
            delete=parked.deletes,
            type_=parked.type,
        )
    else:
        answer.plain(parked.object, parked.writes)


def _refusal(path: str, detail: str) -> Invalid:
    return Invalid(_CONFLICT, [FieldError(path, detail)])
