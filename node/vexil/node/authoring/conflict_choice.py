"""An author's answer to a conflict: one of the siblings, or a value of his own.

A conflict is named by an id that is a hash of its siblings: if they are others by now, it is another conflict, and
the answer to the old one is not taken. The answer is an ordinary write of the cell on top of all siblings; what it
says is held to the rules that any edit is held to.

===================== ======================================= ================================================
kind                  ``choose``                              ``value``
===================== ======================================= ================================================
lww, edit-remove,     what that sibling says, its removal     what the field shall say; ``null`` removes an
defects of a cell     too                                     entry; true or false for a tag or a member
off-wins              killed or not, as it says               true or false
needs-review          the delete: everything goes;            not taken
                      an edit: the object stays
concurrent-create     that generation stays alone             not taken
rules-and-targeting   the targeting's: the rules go;          an object: it becomes the targeting and the rules
                      a rule's: the targeting goes            go; ``null``: the targeting goes
returned              the parked change: it is done now;      ``null``: it is dismissed
                      the present value: it is dismissed
===================== ======================================= ================================================
"""

from __future__ import annotations

from typing import Final

from vexil.crdt import schema
from vexil.crdt.cell import live
from vexil.crdt.change import NO_GENERATION, render_id
from vexil.crdt.conflicts import (
    CONCURRENT_CREATE,
    NEEDS_REVIEW,
    RETURNED,
    RULES_AND_TARGETING,
    ConflictRecord,
    Sibling,
)
from vexil.crdt.generation import visible
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.node.authoring.flag_checks import FlagChecks
from vexil.node.authoring.flag_patch import FlagPatch
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.json_data import Mistakes, look_through
from vexil.node.authoring.returned_choice import resolve_returned
from vexil.node.authoring.rule_set import RuleSet
from vexil.node.authoring.settings import plain_value_mistake
from vexil.node.authoring.sheet import Sheet, deletion, touch
from vexil.node.authoring.view import View
from vexil.node.authoring.workspace import Workspace, refuse_too_much
from vexil.node.errors import ConflictChanged, FieldError, Invalid

CONFLICT: Final = "conflict"
_MEMBERS: Final = frozenset(("choose", "value"))


def resolve_conflict(view: View, conflict_id: str, body: object) -> Intent:
    """Decide ``{"choose": "<change id>"}`` or ``{"value": …}``.

    Raises ConflictChanged if there is no conflict of that id now, Invalid, VariantInUse, LimitExceeded; for a parked
    change also NotFound and InUse.
    """
    look_through(CONFLICT, body)
    mistakes = Mistakes(CONFLICT)
    members = mistakes.mapping("", body)
    mistakes.only("", members, _MEMBERS)
    if isinstance(body, dict) and ("choose" in members) == ("value" in members):
        mistakes.add("", "must have either choose or value")
    mistakes.refuse()
    record = next((each for each in view.conflicts() if each.id == conflict_id), None)
    if record is None:
        raise ConflictChanged(conflict_id)
    chosen = None
    if "choose" in members:
        chosen = next((each for each in record.siblings if each.change == members["choose"]), None)
        if chosen is None:
            mistakes.add("/choose", "is not the change of a sibling")
        elif not chosen.readable:
            mistakes.add("/choose", "has a value that this version cannot read")
        mistakes.refuse()
    if record.kind == RETURNED:
        return resolve_returned(view, record, chosen, members.get("value"))
    answer = _Answer(view, record, chosen, members.get("value"))
    return answer.intent()


class _Answer:
    """One answer to one conflict: ``chosen``, or ``value`` if that is None."""

    def __init__(self, view: View, record: ConflictRecord, chosen: Sibling | None, value: object) -> None:
        self._view = view
        self._record = record
        self._chosen = chosen
        self._value = value if chosen is None else None if chosen.removed else chosen.value
        self._mistakes = Mistakes(CONFLICT)
        self._path = "/value" if chosen is None else "/choose"
        self._cells = view.replica.cells(record.object)

    def intent(self) -> Intent:
        record = self._record
        if record.kind == CONCURRENT_CREATE:
            return self._keep_one_generation()
        if record.kind == NEEDS_REVIEW:
            return self._stay_or_go()
        kind = record.object.partition("/")[0]
        if kind not in (schema.FLAG, schema.SEGMENT):
            return self._write_plain(kind)
        workspace = Workspace(self._view)
        sheet = workspace.sheet(kind, record.object)
        if not sheet.exists:
            raise ConflictChanged(record.id)
        mark = sheet.mark()
        if record.field == schema.EXISTS:
            raise self._refusal("cannot be answered: edit the object until it is within its limits")
        if record.generation == NO_GENERATION:
            kill = self._mistakes.boolean(self._path, self._value)
            sheet.set_kill(str(record.environment), kill=kill)
        elif kind == schema.FLAG:
            self._edit_flag(sheet)
        else:
            self._edit_segment(sheet)
        self._mistakes.refuse()
        if kind == schema.FLAG:
            FlagChecks(workspace, record.object.removeprefix("flag/"), mark).refuse()
        return workspace.intent()

    # -- existence

    def _keep_one_generation(self) -> Intent:
        kept = None
        for each in visible(self._cells):
            if self._chosen is not None and render_id(each.generation) == self._chosen.change:
                kept = each
        if kept is None:
            raise self._refusal("must choose one of the creates")
        kind, _, _ = self._record.object.partition("/")
        writes = [touch(kind, self._record.object, kept)]
        for each in visible(self._cells):
            if each.generation != kept.generation:
                writes += deletion(self._record.object, each)
        return Intent(writes, reads=frozenset((self._record.object,)))

    def _stay_or_go(self) -> Intent:
        found = visible(self._cells)
        if self._chosen is None:
            raise self._refusal("must choose the delete or an edit")
        kind, _, _ = self._record.object.partition("/")
        if self._chosen.removed:
            writes = [write for each in found for write in deletion(self._record.object, each)]
        else:
            writes = [
                touch(kind, self._record.object, each)
                for each in found
                if each.generation == self._record.generation
            ]
        return Intent(writes, reads=frozenset((self._record.object,)))

    # -- fields

    def _edit_flag(self, sheet: Sheet) -> None:
        record, value = self._record, self._value
        parsed = schema.flag_field(record.field)
        environment = parsed.environment or ""
        if record.kind == RULES_AND_TARGETING:
            self._rules_or_targeting(sheet, environment)
        elif parsed.part == schema.RULE:
            self._edit_rule(sheet, parsed.environment, parsed.name)
        elif parsed.part == schema.ORDER:
            self._edit_order(sheet)
        elif parsed.part == schema.TAG:
            self._edit_element(sheet)
        elif parsed.part in (schema.VARIANT, schema.PREREQUISITE):
            if parsed.part == schema.PREREQUISITE and value is not None:
                self._mistakes.text(self._path, value)
            self._put_or_remove(sheet)
        elif parsed.environment is not None:
            inner = {parsed.name: value} if parsed.part == schema.METADATA else value
            self._patch(sheet, {"environments": {environment: {parsed.part: inner}}})
        else:
            self._patch(sheet, {parsed.part: value})
        sheet.insist(record.field)

    def _edit_segment(self, sheet: Sheet) -> None:
        parsed = schema.parse_field(schema.SEGMENT, self._record.generation, self._record.field)
        if parsed.part == schema.RULE:
            self._edit_rule(sheet, None, parsed.name)
        elif parsed.part == schema.ORDER:
            self._edit_order(sheet)
        elif parsed.part == schema.MEMBER_OF_SEGMENT:
            self._edit_element(sheet)
        else:
            sheet.put(
                self._record.field,
                self._mistakes.text(self._path, "" if self._value is None else self._value, empty=True),
            )
        sheet.insist(self._record.field)

    def _patch(self, sheet: Sheet, patch: object) -> None:
        FlagPatch(self._view, sheet, new_id=_no_id).apply(patch)

    def _edit_rule(self, sheet: Sheet, environment: str | None, rule_id: str) -> None:
        if self._value is None:
            sheet.remove(self._record.field)
            return
        body = self._mistakes.mapping(self._path, self._value)
        rules = RuleSet(sheet, environment, new_id=_no_id)
        sent = rules.read({**body, "id": rule_id}, self._path, self._mistakes)
        if not self._mistakes:
            sheet.put(self._record.field, sent.body)

    def _edit_order(self, sheet: Sheet) -> None:
        order = self._mistakes.array(self._path, self._value)
        if not all(isinstance(rule_id, str) for rule_id in order):
            self._mistakes.add(self._path, "must be an array of rule ids")
        sheet.put(self._record.field, order)

    def _edit_element(self, sheet: Sheet) -> None:
        present = not self._chosen.removed if self._chosen is not None else self._value
        if self._mistakes.boolean(self._path, present):
            sheet.put(self._record.field, value=True)
        else:
            sheet.remove(self._record.field)

    def _put_or_remove(self, sheet: Sheet) -> None:
        if self._value is None:
            sheet.remove(self._record.field)
        else:
            sheet.put(self._record.field, self._value)

    def _rules_or_targeting(self, sheet: Sheet, environment: str) -> None:
        packed = self._cells.get(self._record.generation, {}).get(self._record.field, b"\x90")
        of_targeting = {render_id((lane.incarnation, lane.seq)) for lane in live(packed)}
        keep_targeting = self._value is not None
        if self._chosen is not None:
            keep_targeting = self._chosen.change in of_targeting
        if not keep_targeting:
            sheet.put(self._record.field, None)
            return
        RuleSet(sheet, environment, new_id=_no_id).clear()
        if self._value is not None:
            self._patch(sheet, {"environments": {environment: {"targeting": self._value}}})

    # -- objects without generations

    def _write_plain(self, kind: str) -> Intent:
        record = self._record
        removed = self._chosen.removed if self._chosen is not None else self._value in (None, False)
        if removed and record.field in (schema.BUCKETING, schema.RECORD, schema.EXISTS):
            raise self._refusal("cannot be removed")
        mistake = None if removed else plain_value_mistake(kind, record.field, self._value)
        if mistake is not None:
            raise self._refusal(mistake)
        value = TOMBSTONE if removed else self._value
        writes = [CellWrite(record.object, NO_GENERATION, record.field, value)]
        refuse_too_much(writes)
        return Intent(writes, reads=frozenset((record.object,)))

    def _refusal(self, detail: str) -> Invalid:
        return Invalid(CONFLICT, [FieldError(self._path, detail)])


def _no_id() -> str:
    raise AssertionError("an answer to a conflict makes no new rule")
