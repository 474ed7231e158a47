"""The part of a flag's Merge Patch that is about one environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vexil.crdt.schema import DEFAULT, ENABLED, OFF_VARIANT, TARGETING, environment_field, metadata_field
from vexil.crdt.validity import scalar_defect, targeting_defect
from vexil.node.authoring.json_data import Mistakes, pointer
from vexil.node.authoring.rule_set import RuleSet
from vexil.node.authoring.rules import refuse_depth
from vexil.node.authoring.sheet import Sheet
from vexil.node.authoring.view import NewId

MEMBERS: Final = frozenset(("enabled", "kill", "default", "off_variant", "rules", "targeting", "metadata"))


class EnvironmentPatch:
    """Edits of one environment of a flag, on its sheet; mistakes are collected, not raised."""

    __slots__ = ("clears_kill", "environment", "mistakes", "path", "rules", "sheet")

    def __init__(
        self, sheet: Sheet, environment: str, *, path: str, mistakes: Mistakes, new_id: NewId
    ) -> None:
        self.sheet = sheet
        self.environment = environment
        self.path = path
        self.mistakes = mistakes
        self.rules = RuleSet(sheet, environment, new_id=new_id)
        self.clears_kill = False
        """Whether the patch takes a kill back: only someone who has seen it may."""

    def apply(self, patch: object) -> None:
        """A Merge Patch of the environment; None resets it to what an environment is that nobody has named."""
        if patch is None:
            self.reset()
            return
        members = self.mistakes.mapping(self.path, patch)
        self.mistakes.only(self.path, members, MEMBERS)
        setters: dict[str, Callable[[str, object], None]] = {
            "enabled": self._enabled,
            "kill": self._kill,
            "default": self._variant_name,
            "off_variant": self._variant_name,
            "rules": self._rules,
            "targeting": self._targeting,
            "metadata": self._metadata,
        }
        for member, value in members.items():
            if member in setters:
                setters[member](member, value)

    def reset(self, *, kill: bool = True) -> None:
        """Everything back to the default, with ``kill`` a kill too."""
        sheet = self.sheet
        sheet.put(self._field(ENABLED), value=False)
        for part in (DEFAULT, OFF_VARIANT, TARGETING):
            sheet.put(self._field(part), None)
        self.rules.clear()
        self._metadata("metadata", None)
        if kill and sheet.is_killed(self.environment):
            self._kill("kill", None)

    def _rules(self, member: str, value: object) -> None:
        path = pointer(self.path, member)
        sent = [] if value is None else self.mistakes.array(path, value)
        self.rules.replace(sent, path, self.mistakes)

    def _enabled(self, member: str, value: object) -> None:
        enabled = value is not None and self.mistakes.boolean(pointer(self.path, member), value)
        self.sheet.put(self._field(ENABLED), enabled)

    def _kill(self, member: str, value: object) -> None:
        kill = value is not None and self.mistakes.boolean(pointer(self.path, member), value)
        self.clears_kill = self.clears_kill or not kill
        self.sheet.set_kill(self.environment, kill=kill)

    def _variant_name(self, member: str, value: object) -> None:
        if value is not None:
            self.mistakes.text(pointer(self.path, member), value, empty=True)
        self.sheet.put(self._field(member), value)

    def _targeting(self, member: str, value: object) -> None:
        path = pointer(self.path, member)
        refuse_depth(value)
        if targeting_defect(value) is not None:
            self.mistakes.add(path, "must be an object or null")
        # flagd takes an empty object for none.
        self.sheet.put(self._field(TARGETING), value or None)

    def _metadata(self, member: str, value: object) -> None:
        path = pointer(self.path, member)
        prefix = metadata_field("", environment=self.environment)
        if value is None:
            for name in self.sheet.names(prefix):
                self.sheet.remove(prefix + name)
            return
        for name, item in self.mistakes.mapping(path, value).items():
            at = pointer(path, name)
            self.mistakes.text(at, name)
            if item is None:
                if self.sheet.has(prefix + name):
                    self.sheet.remove(prefix + name)
            elif scalar_defect(item) is not None:
                self.mistakes.add(at, "must be a text, a number, true or false")
            else:
                self.sheet.put(prefix + name, item)

    def _field(self, part: str) -> str:
        return environment_field(self.environment, part)
