"""Whether the outcome of an edit makes sense: variants that are there, prerequisites that can be met, bounds.

Only what the edit has changed is judged. Merging can reach states that no author could write (a default whose variant
went in another region); the edit of a description must not be refused because of them, and an edit that mends one of
two defects must pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgpack

from vexil.crdt.limits import FLAG_BYTES_MAX, RULES_MAX
from vexil.crdt.payload import UNREADABLE
from vexil.crdt.schema import (
    DEFAULT,
    FLAG,
    OFF_VARIANT,
    PREREQUISITE,
    RULE,
    TARGETING,
    VARIANT,
    environment_field,
    flag_field,
    rule_field,
    variant_field,
)
from vexil.crdt.validity import variant_defect
from vexil.node.authoring.json_data import Mistakes, pointer
from vexil.node.authoring.limits import AUTHOR_BYTES_RESERVED, refuse_over
from vexil.node.authoring.rules import dangling, refuse_value_depth, variants_of
from vexil.node.authoring.sheet import Mark, Sheet
from vexil.node.authoring.workspace import Workspace
from vexil.node.errors import VariantInUse

_PAYLOAD_OVERHEAD_BYTES = 8
PREREQUISITE_WALK_MAX = 10_000
"""Flags that a search for a cycle may visit."""


class FlagChecks:
    """Judges what was done to the flag ``key`` since ``mark``."""

    __slots__ = ("_changed", "_key", "_mark", "_mistakes", "_path", "_sheet", "_variants", "_workspace")

    def __init__(self, workspace: Workspace, key: str, mark: Mark, *, path: str = "") -> None:
        self._workspace = workspace
        self._key = key
        self._mark = mark
        self._path = path
        self._sheet: Sheet = workspace.flag(key)
        self._changed = self._sheet.changed_since(mark)
        self._variants = set(self._sheet.names(f"{VARIANT}/"))
        self._mistakes = Mistakes(FLAG)

    def refuse(self) -> None:
        """Raise VariantInUse, Invalid or LimitExceeded if the flag must not become what the sheet says."""
        removed = []
        for field in self._changed:
            parsed = flag_field(field)
            if parsed.part == VARIANT:
                if self._sheet.has(field):
                    self._check_value(field, parsed.name)
                else:
                    removed.append(parsed.name)
            elif parsed.part == PREREQUISITE and self._sheet.has(field):
                self._check_prerequisite(field, parsed.name)
            elif parsed.environment is not None and self._sheet.has(field):
                self._check_in_environment(field, parsed.environment, parsed.part, parsed.name)
        self._mistakes.refuse()
        for variant in removed:
            users = [*self._users(variant), *self._dependents(variant)]
            if users:
                raise VariantInUse(variant, users)
        self._check_bounds()

    def _check_value(self, field: str, name: str) -> None:
        defect = variant_defect(self._sheet.type, self._sheet.value(field))
        refuse_value_depth(defect)
        if defect is not None:
            self._mistakes.add(pointer(self._path, "variants", name), f"is not of type {self._sheet.type}")

    def _check_in_environment(self, field: str, environment: str, part: str, name: str) -> None:
        value = self._sheet.value(field)
        at = pointer(self._path, "environments", environment)
        if part in (DEFAULT, OFF_VARIANT):
            if value is not None and value not in self._variants:
                self._mistakes.add(pointer(at, part), f"there is no variant {value!r}")
        elif part == RULE:
            if isinstance(value, dict) and dangling(value, self._variants):
                missing = sorted(variants_of(value) - self._variants)
                self._mistakes.add(pointer(at, "rules", name), f"there is no variant {', '.join(missing)!r}")
            if self._sheet.value(environment_field(environment, TARGETING)) is not None:
                self._mistakes.add(pointer(at, "rules", name), "targeting excludes rules")
        elif (
            part == TARGETING
            and value is not None
            and self._sheet.names(rule_field("", environment=environment))
        ):
            self._mistakes.add(pointer(at, part), "targeting excludes rules")

    def _check_prerequisite(self, field: str, required: str) -> None:
        at = pointer(self._path, "prerequisites", required)
        other = self._workspace.flag(required)
        variant = self._sheet.value(field)
        if required == self._key or self._leads_back(required):
            self._mistakes.add(at, "makes the flag a prerequisite of itself")
        elif not other.exists:
            self._mistakes.add(at, f"there is no flag {required!r}")
        elif not (isinstance(variant, str) and other.has(variant_field(variant))):
            self._mistakes.add(at, f"flag {required!r} has no variant {variant!r}")

    def _leads_back(self, start: str) -> bool:
        seen = {start}
        todo = [start]
        while todo:
            for required in self._workspace.prerequisites(todo.pop()):
                if required == self._key:
                    return True
                if required not in seen:
                    seen.add(required)
                    todo.append(required)
            refuse_over("prerequisite_walk", len(seen), PREREQUISITE_WALK_MAX, unit="prerequisites")
        return False

    def _users(self, variant: str) -> Iterator[str]:
        for environment in self._workspace.view.environments:
            yield from users_in(self._sheet, environment, variant)

    def _dependents(self, variant: str) -> Iterator[str]:
        for other in self._workspace.dependents(self._key, variant):
            yield f"prerequisite of {other}"

    def _check_bounds(self) -> None:
        """Bounds that need the whole flag. The size is an estimate from above: the author's name is not known."""
        for environment in {e for f in self._changed if (e := flag_field(f).environment) is not None}:
            prefix = rule_field("", environment=environment)
            rules = self._sheet.names(prefix)
            added = [i for i in rules if prefix + i in self._changed]
            refuse_over("rules", len(rules), RULES_MAX, before=0 if added else len(rules), unit="rules")
        growth = sum(self._bytes(f) - self._sheet.stored_bytes(f) for f in self._changed)
        if growth > 0:
            size = sum(self._bytes(field) for field in self._sheet.names(""))
            refuse_over("flag_bytes", size, FLAG_BYTES_MAX, unit="bytes")

    def _bytes(self, field: str) -> int:
        if not self._sheet.has(field):
            return 0
        if field not in self._changed and (stored := self._sheet.stored_bytes(field)):
            return len(field) + stored
        value = self._sheet.value(field)
        if value is UNREADABLE:  # of a newer version, and empty: nobody here has set it
            return len(field.encode())
        return (
            len(field.encode()) + len(msgpack.packb(value)) + AUTHOR_BYTES_RESERVED + _PAYLOAD_OVERHEAD_BYTES
        )


def users_in(sheet: Sheet, environment: str, variant: str) -> Iterator[str]:
    """What in one environment of the flag names ``variant``: ``<environment>/default`` and so on."""
    for part in (DEFAULT, OFF_VARIANT):
        if sheet.value(environment_field(environment, part)) == variant:
            yield f"{environment}/{part}"
    for rule_id in sheet.names(rule_field("", environment=environment)):
        if variant in variants_of(sheet.value(rule_field(rule_id, environment=environment))):
            yield f"{environment}/rules/{rule_id}"
