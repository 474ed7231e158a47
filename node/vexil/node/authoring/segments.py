"""What can be done to one segment; the same order of work as for flags.

Members are cells of their own, up to a million: what is done here to a few of them looks at those few only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from vexil.crdt.limits import RULES_MAX, SEGMENT_KEY_BYTES_MAX, SEGMENT_MEMBERS_MAX
from vexil.crdt.schema import DESCRIPTION, MEMBER_PREFIX, SEGMENT, is_name, member_field, rule_field
from vexil.crdt.segment_state import describe_segment, read_segment
from vexil.node.authoring.if_match import Condition
from vexil.node.authoring.json_data import Mistakes, look_through, pointer
from vexil.node.authoring.limits import MEMBER_BYTES_MAX, TEXT_BYTES_MAX, refuse_over
from vexil.node.authoring.rule_set import RuleSet
from vexil.node.authoring.sheet import Mark, Sheet
from vexil.node.authoring.view import NewId
from vexil.node.authoring.workspace import Workspace
from vexil.node.errors import Exists, LimitExceeded, NotFound

READ_ONLY: Final = frozenset(("needs_review", "conflicts", "problems"))
MEMBERS: Final = READ_ONLY | {"key", "description", "members", "rules"}
_EMPTY: Final = {"description": "", "members": [], "rules": []}


class SegmentAuthor:
    """The hand that edits segments in one workspace; ``path`` is where in the request its mistakes are."""

    __slots__ = ("_new_id", "_path", "_workspace")

    def __init__(self, workspace: Workspace, *, new_id: NewId, path: str = "") -> None:
        self._workspace = workspace
        self._new_id = new_id
        self._path = path

    def create(self, key: str, body: object) -> None:
        """Bring a segment into being. Raises Exists, Invalid, LimitExceeded."""
        look_through(SEGMENT, body, self._path)
        sheet = self._workspace.segment(key)
        if sheet.exists:
            raise Exists(SEGMENT, key)
        self._create(sheet, key)
        self._apply(sheet, key, body, {})

    def put(self, key: str, body: object, *, if_match: object = None) -> None:
        """Make the segment what ``body`` says, members that it does not name being empty; create it if need be."""
        look_through(SEGMENT, body, self._path)
        sheet = self._workspace.segment(key)
        condition = self._condition(key, sheet, if_match)
        mark = sheet.mark()
        if not sheet.exists:
            self._create(sheet, key)
        self._apply(sheet, key, body, _EMPTY)
        condition.check_touched(sheet.touched_since(mark))

    def patch(self, key: str, patch: object, *, if_match: object = None) -> None:
        """Apply a Merge Patch. Raises NotFound, Stale, Invalid, LimitExceeded."""
        look_through(SEGMENT, patch, self._path)
        condition, sheet, mark = self._begin(key, if_match)
        self._apply(sheet, key, patch, {})
        condition.check_touched(sheet.touched_since(mark))

    def delete(self, key: str, *, if_match: object = None) -> None:
        """Remove the segment, every generation of it. With a condition every field counts as touched."""
        condition, sheet, _ = self._begin(key, if_match)
        if condition.given:
            condition.check_touched(sheet.every_cell())
        sheet.delete()

    def change_members(
        self, key: str, *, add: object = None, remove: object = None, if_match: object = None
    ) -> None:
        """Add and remove members; what is there already, or gone already, is no write."""
        look_through(SEGMENT, [add, remove])
        condition, sheet, mark = self._begin(key, if_match)
        mistakes = Mistakes(SEGMENT)
        added = self._members(pointer(self._path, "add"), add, mistakes)
        removed = self._members(pointer(self._path, "remove"), remove, mistakes)
        for member in sorted(set(added) & set(removed)):
            mistakes.add(pointer(self._path, "remove"), f"{member!r} is to be added too")
        mistakes.refuse()
        self._edit_members(sheet, added, removed)
        condition.check_touched(sheet.touched_since(mark))

    def put_rule(self, key: str, rule: object, *, before: object = None, if_match: object = None) -> str:
        """Add a rule or replace the one with its id; returns the id."""
        look_through(SEGMENT, rule, pointer(self._path, "rule"))
        condition, sheet, mark = self._begin(key, if_match)
        rules = RuleSet(sheet, None, new_id=self._new_id)
        rule_id = rules.put_sent(rule, before=before, path=self._path, mistakes=Mistakes(SEGMENT))
        self._finish(condition, sheet, mark)
        return rule_id

    def remove_rule(self, key: str, rule_id: object, *, if_match: object = None) -> None:
        """Remove a rule; one that is not there is removed already."""
        condition, sheet, mark = self._begin(key, if_match)
        mistakes = Mistakes(SEGMENT)
        name = mistakes.text(pointer(self._path, "id"), rule_id)
        mistakes.refuse()
        RuleSet(sheet, None, new_id=self._new_id).remove(name)
        self._finish(condition, sheet, mark)

    def move_rule(self, key: str, rule_id: object, *, before: object = None, if_match: object = None) -> None:
        """Put a rule in front of the rule ``before``, or last if that is None."""
        condition, sheet, mark = self._begin(key, if_match)
        rules = RuleSet(sheet, None, new_id=self._new_id)
        rules.move(rule_id, before=before, path=self._path, mistakes=Mistakes(SEGMENT))
        self._finish(condition, sheet, mark)

    # -- what they share

    def _finish(self, condition: Condition, sheet: Sheet, mark: Mark) -> None:
        condition.check_touched(sheet.touched_since(mark))
        prefix = rule_field("")
        count = (
            len(sheet.names(prefix)) if any(f.startswith(prefix) for f in sheet.changed_since(mark)) else 0
        )
        refuse_over("rules", count, RULES_MAX, unit="rules")

    def _begin(self, key: str, if_match: object) -> tuple[Condition, Sheet, Mark]:
        sheet = self._workspace.segment(key)
        condition = self._condition(key, sheet, if_match)
        if not sheet.exists:
            raise NotFound(SEGMENT, key)
        return condition, sheet, sheet.mark()

    def _condition(self, key: str, sheet: Sheet, if_match: object) -> Condition:
        cells = self._workspace.view.replica.cells(sheet.name)

        def current() -> object:
            state = read_segment(key, cells)
            return None if state is None else describe_segment(state)

        condition = Condition(if_match, kind=SEGMENT, cells=cells, current=current)
        condition.check_existence(generation=sheet.generation)
        return condition

    def _create(self, sheet: Sheet, key: str) -> None:
        if len(key.encode(errors="replace")) > SEGMENT_KEY_BYTES_MAX:
            raise LimitExceeded(
                "segment_key_bytes", f"a segment's key has at most {SEGMENT_KEY_BYTES_MAX} bytes"
            )
        if not is_name(key, bytes_max=SEGMENT_KEY_BYTES_MAX):
            mistakes = Mistakes(SEGMENT)
            mistakes.add(pointer(self._path, "key"), "must match [A-Za-z0-9][A-Za-z0-9._-]*")
            mistakes.refuse()
        sheet.create()

    def _apply(self, sheet: Sheet, key: str, body: object, missing: Mapping[str, object]) -> None:
        mistakes = Mistakes(SEGMENT)
        members: dict[str, object] = {**missing, **mistakes.mapping(self._path, body)}
        mistakes.only(self._path, members, MEMBERS)
        for member, value in members.items():
            at = pointer(self._path, member)
            if member == "key" and value != key:
                mistakes.add(at, "cannot change")
            elif member == "description":
                text = "" if value is None else value
                sheet.put(DESCRIPTION, mistakes.text(at, text, bytes_max=TEXT_BYTES_MAX, empty=True))
            elif member == "members":
                wanted = dict.fromkeys(self._members(at, value, mistakes))
                there = sheet.names(MEMBER_PREFIX)
                gone = [name for name in there if name not in wanted]
                self._edit_members(sheet, list(wanted), gone)
            elif member == "rules":
                sent = [] if value is None else mistakes.array(at, value)
                RuleSet(sheet, None, new_id=self._new_id).replace(sent, at, mistakes)
        mistakes.refuse()

    def _members(self, path: str, value: object, mistakes: Mistakes) -> list[str]:
        if value is None:
            return []
        return [
            mistakes.text(pointer(path, index), member, bytes_max=MEMBER_BYTES_MAX)
            for index, member in enumerate(mistakes.array(path, value))
        ]

    def _edit_members(self, sheet: Sheet, added: Sequence[str], removed: Sequence[str]) -> None:
        new = [member for member in dict.fromkeys(added) if not sheet.has(member_field(member))]
        # Counting a million cells takes a while; most segments are nowhere near.
        if new and sheet.names_max() + len(new) > SEGMENT_MEMBERS_MAX:
            before = len(sheet.names(MEMBER_PREFIX))
            gone = sum(sheet.has(member_field(member)) for member in set(removed))
            refuse_over("segment_members", before + len(new) - gone, SEGMENT_MEMBERS_MAX, before=before)
        for member in new:
            sheet.put(member_field(member), value=True)
        for member in removed:
            if sheet.has(member_field(member)):
                sheet.remove(member_field(member))
