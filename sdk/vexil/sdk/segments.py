"""The segments of a flag set: who is listed, and what their rules became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from vexil.sdk.compiler.compiler import Compiler
from vexil.sdk.compiler.runtime import Unit
from vexil.sdk.errors import RuleError
from vexil.sdk.graph import on_cycles
from vexil.sdk.references import References
from vexil.sdk.rules import segments_named_in
from vexil.sdk.shapes import SegmentDocument

Logic = tuple[object, ...]
Tests = tuple[Unit, ...]

_NOBODY: Final[frozenset[str]] = frozenset()


class SegmentRules:
    """Segments by their key. Rules are expanded, and compiled, when they are first asked for."""

    __slots__ = ("_logic", "_tests", "documents")

    def __init__(self, documents: Mapping[str, SegmentDocument]) -> None:
        self.documents = dict(documents)
        self._logic: dict[str, Logic | RuleError] | None = None
        self._tests: dict[str, Tests] = {}

    def copy(self) -> SegmentRules:
        """The same segments, for whoever goes another way from here."""
        copy = SegmentRules(self.documents)
        copy._logic, copy._tests = self._logic, self._tests.copy()
        return copy

    def replace(self, key: str, document: SegmentDocument | None) -> None:
        """Put ``document`` in the place of segment ``key``, or take the segment out. O(1), however large it is."""
        before = self.documents.get(key)
        if document is None:
            self.documents.pop(key, None)
        else:
            self.documents[key] = document
        if _rules_of(before) != _rules_of(document):
            self.forget_rules()

    def forget_rules(self) -> None:
        """What rules became is made again: what they refer to is another."""
        self._logic = None
        self._tests = {}

    def members(self, key: str) -> AbstractSet[str]:
        """Who is listed; nobody if there is no such segment."""
        document = self.documents.get(key)
        members = document.get("members") if isinstance(document, Mapping) else None
        return members if isinstance(members, AbstractSet) else _NOBODY

    def logic(self, key: str, references: References) -> Logic:
        """The expanded conditions; none if there is no such segment, or if it is on a cycle of segments.

        Raises ``RuleError`` if a rule cannot be run.
        """
        logic = self.all_logic(references).get(key, ())
        if isinstance(logic, RuleError):
            raise logic.with_traceback(None)
        return logic

    def all_logic(self, references: References) -> Mapping[str, Logic | RuleError]:
        """The expanded conditions of every segment that has any and is not on a cycle."""
        if self._logic is None:
            self._logic = _expand(self.documents, references)
        return self._logic

    def tests(self, key: str, compiler: Compiler) -> Tests:
        """`logic` as functions. Raises ``RuleError`` if a rule cannot be run."""
        tests = self._tests.get(key)
        if tests is None:
            tests = tuple(compiler.condition(rule) for rule in self.logic(key, compiler.references))
            if key in self.documents:
                self._tests[key] = tests
        return tests


def _expand(documents: Mapping[str, Any], references: References) -> dict[str, Logic | RuleError]:
    expanded: dict[str, Logic | RuleError] = {}
    edges: dict[str, Sequence[str]] = {}
    for key, document in documents.items():
        rules = _rules_of(document)
        if not rules:
            continue
        try:
            logic = tuple(references.expand(rule) for rule in rules)
        except RuleError as error:
            expanded[key] = error
            continue
        expanded[key] = logic
        edges[key] = sorted(frozenset[str]().union(*map(segments_named_in, logic)))
    for key in on_cycles(edges):
        del expanded[key]
    return expanded


def _rules_of(document: object) -> list[object]:
    rules = document.get("rules") if isinstance(document, Mapping) else None
    if not isinstance(rules, list | tuple):
        return []
    return [rule["if"] for rule in rules if isinstance(rule, Mapping) and "if" in rule]
