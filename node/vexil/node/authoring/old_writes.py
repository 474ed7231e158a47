"""What an old change wrote, written again on top of the present state; held to the rules of any edit.

The cells are the old ones, but nothing is copied blindly: flags and segments go through their sheets, so a create is a
create, an edit is one of the generation that is shown now, and the outcome must make sense today. Whether it is still
*wanted* is not asked here.
"""

from __future__ import annotations

from collections.abc import Sequence

from vexil.crdt import schema
from vexil.crdt.cell import lanes, live
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.limits import RULES_MAX, SEGMENT_MEMBERS_MAX
from vexil.crdt.parked import ParkedWrite
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.crdt.policy import MISSING, Policy, lww, revoked
from vexil.crdt.validity import FLAG_TYPES
from vexil.node.authoring.flag_checks import FlagChecks
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.json_data import same
from vexil.node.authoring.limits import refuse_over
from vexil.node.authoring.settings import plain_value_mistake
from vexil.node.authoring.sheet import EPOCH, Mark, Sheet
from vexil.node.authoring.workspace import Workspace, refuse_too_much
from vexil.node.errors import FieldError, InUse, Invalid, NotFound

_CHECKED = frozenset((schema.FLAGD, schema.PROJECT))


class OldWrites:
    """Writes that are gathered, object by object, for one new change."""

    __slots__ = ("_direct", "_reads", "_workspace")

    def __init__(self, workspace: Workspace) -> None:
        """Nothing yet, on top of the workspace's state."""
        self._workspace = workspace
        self._direct: list[CellWrite] = []
        self._reads: set[str] = set()

    def intent(self) -> Intent:
        """The outcome. Raises LimitExceeded."""
        made = self._workspace.intent()
        writes = [*made.writes, *self._direct]
        refuse_too_much(writes)
        return Intent(writes, reads=made.reads | self._reads, created=made.created)

    def add(self, writes: Sequence[CellWrite]) -> None:
        """Write just these, of objects that nothing else here is about."""
        self._direct += writes
        self._reads.update(write.object for write in writes)

    # -- flags and segments

    def edit(
        self, name: str, writes: Sequence[ParkedWrite], *, create: bool, delete: bool, type_: str = ""
    ) -> None:
        """The flag or segment ``name``: delete what is shown, create it (``type_`` is a flag's), write the fields.

        A create of what is there writes on top of it, and takes no kill back. Raises NotFound, InUse, Invalid,
        VariantInUse, LimitExceeded.
        """
        kind, _, key = name.partition("/")
        sheet = self._workspace.sheet(kind, name)
        mark = sheet.mark()
        if delete and sheet.exists:
            if kind == schema.FLAG and (users := list(self._workspace.dependents(key))):
                raise InUse(kind, key, users)
            sheet.delete()
        over = create and sheet.exists
        if create and kind == schema.FLAG and type_ not in FLAG_TYPES:
            raise _invalid(kind, f"{type_!r} is no type of a flag")
        if over and sheet.type != type_:
            raise _invalid(kind, f"{key!r} is there, and of type {sheet.type!r}")
        if create and not over:
            if kind == schema.FLAG:
                self._workspace.take_place(key)
            sheet.create(type_=type_)
        self._fields(sheet, kind, key, writes, over=over)
        if kind == schema.FLAG and sheet.exists:
            FlagChecks(self._workspace, key, mark).refuse()
        elif sheet.exists:
            _refuse_too_much_of_a_segment(sheet, mark)

    def _fields(
        self, sheet: Sheet, kind: str, key: str, writes: Sequence[ParkedWrite], *, over: bool
    ) -> None:
        deleted = {w.generation for w in writes if w.field == schema.EXISTS and w.removed}
        for write in writes:
            if write.generation is None:
                parsed = schema.parse_field(kind, NO_GENERATION, write.field)
                if parsed.part != schema.KILL:
                    self._plain_cell(sheet.name, write)
                elif not sheet.exists:
                    raise NotFound(kind, key)
                elif not (over and write.value is False):
                    kill = write.value is not False and not write.removed
                    sheet.set_kill(str(parsed.environment or parsed.name), kill=kill)
            elif write.field in (schema.EXISTS, EPOCH) or write.generation in deleted:
                continue
            elif not sheet.exists:
                raise NotFound(kind, key)
            elif write.removed:
                sheet.remove(write.field)
            else:
                sheet.put(write.field, write.value)

    # -- objects without generations

    def plain(self, name: str, writes: Sequence[ParkedWrite]) -> None:
        """The fields of an object without generations. Raises Invalid."""
        kind = name.partition("/")[0]
        for write in writes:
            if write.generation is not None:
                raise _invalid(kind, "has no generations")
            mistake = None
            if kind in _CHECKED and not write.removed:
                mistake = plain_value_mistake(kind, write.field, write.value)
            if mistake is not None:
                raise _invalid(kind, mistake)
            self._plain_cell(name, write)

    def _plain_cell(self, name: str, write: ParkedWrite) -> None:
        packed = self._workspace.view.replica.cell(name, NO_GENERATION, write.field)
        self._reads.add(name)
        policy = schema.policy_of(name, NO_GENERATION, write.field)
        if policy is Policy.ONCE:
            if not revoked(lanes(packed)):
                self._direct.append(CellWrite(name, NO_GENERATION, write.field, write.value))
            return
        shown = lww(live(packed)).value
        if write.removed:
            if shown is not MISSING:
                self._direct.append(CellWrite(name, NO_GENERATION, write.field, TOMBSTONE))
        elif shown is MISSING or not same(shown, write.value):
            self._direct.append(CellWrite(name, NO_GENERATION, write.field, write.value))


def _refuse_too_much_of_a_segment(sheet: Sheet, mark: Mark) -> None:
    changed = sheet.changed_since(mark)
    rules = schema.rule_field("")
    if any(field.startswith(rules) and sheet.has(field) for field in changed):
        refuse_over("rules", len(sheet.names(rules)), RULES_MAX, unit="rules")
    added = any(field.startswith(schema.MEMBER_PREFIX) and sheet.has(field) for field in changed)
    # Counting a million cells takes a while; most segments are nowhere near.
    if added and sheet.names_max() > SEGMENT_MEMBERS_MAX:
        refuse_over("segment_members", len(sheet.names(schema.MEMBER_PREFIX)), SEGMENT_MEMBERS_MAX)


def _invalid(kind: str, detail: str) -> Invalid:
    return Invalid(kind, [FieldError("", detail)])
