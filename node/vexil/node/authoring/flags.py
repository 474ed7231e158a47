"""What can be done to one flag: each function edits the flag's sheet in a workspace, or raises.

All of them work in the same order: what the author saw (`Condition`) against existence, the edit, what he saw against
the cells that the edit touches, and last whether the outcome makes sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vexil.crdt.limits import FLAG_KEY_BYTES_MAX
from vexil.crdt.materialise import describe, read_flag
from vexil.crdt.schema import FLAG, is_name, tag_field, variant_field
from vexil.crdt.validity import FLAG_TYPES
from vexil.node.authoring.environment_patch import EnvironmentPatch
from vexil.node.authoring.flag_checks import FlagChecks
from vexil.node.authoring.flag_patch import FlagPatch
from vexil.node.authoring.if_match import Condition
from vexil.node.authoring.json_data import Mistakes, look_through, pointer
from vexil.node.authoring.sheet import Mark, Sheet
from vexil.node.authoring.view import NewId
from vexil.node.authoring.workspace import Workspace
from vexil.node.errors import (
    Exists,
    FieldError,
    InUse,
    Invalid,
    LimitExceeded,
    NotFound,
    PreconditionRequired,
)

BOOLEAN_VARIANTS: Final[Mapping[str, bool]] = {"on": True, "off": False}
"""What a boolean flag is created with if its author names no variants."""


class FlagAuthor:
    """The hand that edits flags in one workspace; ``path`` is where in the request its mistakes are."""

    __slots__ = ("_new_id", "_path", "_workspace")

    def __init__(self, workspace: Workspace, *, new_id: NewId, path: str = "") -> None:
        self._workspace = workspace
        self._new_id = new_id
        self._path = path

    # -- the whole flag

    def create(self, body: object, *, key: str | None = None) -> str:
        """Bring a flag into being from its JSON; returns its key. ``key`` is what the body need not name.

        Its kill switches begin as the body says, whatever an earlier flag of that key had left behind.
        Raises Exists, Invalid, LimitExceeded.
        """
        look_through(FLAG, body, self._path)
        mistakes = Mistakes(FLAG)
        members = mistakes.mapping(self._path, body)
        mistakes.refuse()
        if key is not None and members.get("key", key) != key:
            mistakes.add(pointer(self._path, "key"), "is another one than the operation's")
        key = self._key(members.get("key", key), mistakes)
        flag_type = members.get("type")
        if not isinstance(flag_type, str) or flag_type not in FLAG_TYPES:
            mistakes.add(pointer(self._path, "type"), f"must be one of {', '.join(FLAG_TYPES)}")
        mistakes.refuse()
        sheet = self._workspace.flag(key)
        if sheet.exists:
            raise Exists(FLAG, key)
        self._workspace.take_place(key)
        mark = sheet.mark()
        sheet.create(type_=str(flag_type))
        for environment in self._workspace.view.environments:
            sheet.set_kill(environment, kill=False)
        if flag_type == "boolean" and "variants" not in members:
            for name, value in BOOLEAN_VARIANTS.items():
                sheet.put(variant_field(name), value)
        FlagPatch(self._workspace.view, sheet, new_id=self._new_id).apply(body, self._path)
        FlagChecks(self._workspace, key, mark, path=self._path).refuse()
        return key

    def patch(self, key: str, patch: object, *, if_match: object = None) -> None:
        """Apply a Merge Patch. Raises NotFound, Stale, Invalid, VariantInUse, PreconditionRequired, LimitExceeded."""
        look_through(FLAG, patch, self._path)
        condition, sheet, mark = self._begin(key, if_match)
        edit = FlagPatch(self._workspace.view, sheet, new_id=self._new_id)
        edit.apply(patch, self._path)
        if edit.clears_kill and not condition.given:
            raise PreconditionRequired("to take a kill back, send the ETag under which you have seen it")
        self._finish(key, condition, sheet, mark)

    def delete(self, key: str, *, if_match: object = None) -> None:
        """Remove the flag, every generation of it. With a condition every field counts as touched.

        Raises InUse if other flags require it: without it all of them would be off. They let go of it first.
        """
        condition, sheet, _ = self._begin(key, if_match)
        condition.check_touched(sheet.every_cell())
        if users := list(self._workspace.dependents(key)):
            raise InUse(FLAG, key, users)
        sheet.delete()

    # -- one environment

    def kill(self, key: str, environment: str, *, if_match: object = None) -> None:
        """Throw the switch: always a write."""
        condition, sheet, mark = self._begin(key, if_match)
        self._environment(environment)
        sheet.set_kill(environment, kill=True)
        condition.check_touched(sheet.touched_since(mark))

    def unkill(self, key: str, environment: str, *, if_match: object = None) -> None:
        """Clear the switch, for someone who has seen it. Raises PreconditionRequired, Stale."""
        condition, sheet, mark = self._begin(key, if_match)
        self._environment(environment)
        if not condition.given:
            raise PreconditionRequired("to take a kill back, send the ETag under which you have seen it")
        sheet.set_kill(environment, kill=False)
        condition.check_touched(sheet.touched_since(mark))

    def put_rule(
        self, key: str, environment: str, rule: object, *, before: object = None, if_match: object = None
    ) -> str:
        """Add a rule, in front of the rule ``before``, or replace the one with its id; returns the id."""
        look_through(FLAG, rule, pointer(self._path, "rule"))
        condition, sheet, mark = self._begin(key, if_match)
        mistakes = Mistakes(FLAG)
        rules = self._part(sheet, environment, mistakes).rules
        rule_id = rules.put_sent(rule, before=before, path=self._path, mistakes=mistakes)
        self._finish(key, condition, sheet, mark)
        return rule_id

    def remove_rule(self, key: str, environment: str, rule_id: object, *, if_match: object = None) -> None:
        """Remove a rule; one that is not there is removed already."""
        condition, sheet, mark = self._begin(key, if_match)
        mistakes = Mistakes(FLAG)
        part = self._part(sheet, environment, mistakes)
        name = mistakes.text(pointer(self._path, "id"), rule_id)
        mistakes.refuse()
        part.rules.remove(name)
        self._finish(key, condition, sheet, mark)

    def move_rule(
        self, key: str, environment: str, rule_id: object, *, before: object = None, if_match: object = None
    ) -> None:
        """Put a rule in front of the rule ``before``, or last if that is None."""
        condition, sheet, mark = self._begin(key, if_match)
        mistakes = Mistakes(FLAG)
        rules = self._part(sheet, environment, mistakes).rules
        rules.move(rule_id, before=before, path=self._path, mistakes=mistakes)
        self._finish(key, condition, sheet, mark)

    # -- tags

    def set_tag(self, key: str, tag: object, *, present: bool, if_match: object = None) -> None:
        """Add or remove one tag."""
        look_through(FLAG, tag, pointer(self._path, "tag"))
        condition, sheet, mark = self._begin(key, if_match)
        mistakes = Mistakes(FLAG)
        name = mistakes.text(pointer(self._path, "tag"), tag)
        mistakes.refuse()
        field = tag_field(name)
        if present and not sheet.has(field):
            sheet.put(field, value=True)
        elif not present and sheet.has(field):
            sheet.remove(field)
        self._finish(key, condition, sheet, mark)

    # -- what all of them do

    def _begin(self, key: str, if_match: object) -> tuple[Condition, Sheet, Mark]:
        sheet = self._workspace.flag(key)
        cells = self._workspace.view.replica.cells(sheet.name)
        condition = Condition(if_match, kind=FLAG, cells=cells, current=lambda: self._current(key))
        condition.check_existence(generation=sheet.generation)
        if not sheet.exists:
            raise NotFound(FLAG, key)
        return condition, sheet, sheet.mark()

    def _finish(self, key: str, condition: Condition, sheet: Sheet, mark: Mark) -> None:
        condition.check_touched(sheet.touched_since(mark))
        FlagChecks(self._workspace, key, mark, path=self._path).refuse()

    def _current(self, key: str) -> object:
        view = self._workspace.view
        state = read_flag(key, view.replica.cells(f"{FLAG}/{key}"), view.environments)
        return None if state is None else describe(state)

    def _key(self, value: object, mistakes: Mistakes) -> str:
        path = pointer(self._path, "key")
        if not isinstance(value, str):
            mistakes.add(path, "must be a text")
            return ""
        if len(value.encode()) > FLAG_KEY_BYTES_MAX:
            raise LimitExceeded("flag_key_bytes", f"a flag's key has at most {FLAG_KEY_BYTES_MAX} bytes")
        if not is_name(value, bytes_max=FLAG_KEY_BYTES_MAX):
            mistakes.add(path, "must match [A-Za-z0-9][A-Za-z0-9._-]*")
        return value

    def _environment(self, environment: object) -> str:
        if not isinstance(environment, str) or environment not in self._workspace.view.environments:
            path = pointer(self._path, "environment")
            raise Invalid(FLAG, [FieldError(path, f"there is no environment {environment!r}")])
        return environment

    def _part(self, sheet: Sheet, environment: str, mistakes: Mistakes) -> EnvironmentPatch:
        name = self._environment(environment)
        path = pointer(self._path, "environments", name)
        return EnvironmentPatch(sheet, name, path=path, mistakes=mistakes, new_id=self._new_id)
