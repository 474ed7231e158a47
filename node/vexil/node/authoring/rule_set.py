"""The rules of one environment of a flag, or of a segment: a set of elements with an order beside it.

Each rule is one cell; the order is one list of ids in one cell. The list is written only if the order that readers
would see is not the one that was asked for. So a rule that is added at the end often needs no write of the order at
all, and two authors who each add one do not get in each other's way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vexil.crdt.limits import RULES_MAX
from vexil.crdt.rule_order import ordered
from vexil.crdt.schema import ORDER, environment_field, rule_field
from vexil.node.authoring.json_data import Mistakes, pointer, same
from vexil.node.authoring.limits import refuse_over
from vexil.node.authoring.rules import (
    SentRule,
    flag_rule,
    flag_rule_is_shown,
    of_newer_versions,
    segment_rule,
    segment_rule_is_shown,
)
from vexil.node.authoring.sheet import Sheet
from vexil.node.authoring.view import NewId


class RuleSet:
    """The rules on a sheet: of ``environment`` of a flag, or (None) of a segment."""

    __slots__ = ("_is_shown", "_new_id", "_order", "_prefix", "_read", "_sheet")

    def __init__(self, sheet: Sheet, environment: str | None, *, new_id: NewId) -> None:
        self._sheet = sheet
        self._new_id = new_id
        self._prefix = rule_field("", environment=environment)
        self._order = ORDER if environment is None else environment_field(environment, ORDER)
        self._is_shown = segment_rule_is_shown if environment is None else flag_rule_is_shown
        self._read: Callable[[object, str, Mistakes], SentRule] = (
            segment_rule if environment is None else flag_rule
        )

    def stored_ids(self) -> list[str]:
        """Ids of all rules that have a value, those too that are no rules to a reader."""
        return self._sheet.names(self._prefix)

    def shown_ids(self) -> list[str]:
        """Ids of the rules that a GET shows, in order."""
        return [i for i in self._in_order() if self._is_shown(self._sheet.value(self._prefix + i))]

    def replace(self, sent: Sequence[object], path: str, mistakes: Mistakes) -> None:
        """Make the rules those of ``sent``, an array at ``path``; nothing is done if there are mistakes."""
        shown = self.shown_ids()
        refuse_over("rules", len(sent), RULES_MAX, before=len(shown), unit="rules")
        named: dict[str, SentRule] = {}
        for index, item in enumerate(sent):
            rule = self._read(item, pointer(path, index), mistakes)
            rule_id = rule.id or self._new_id()
            if rule_id in named:
                mistakes.add(pointer(rule.path, "id"), "is the id of an earlier rule")
            named[rule_id] = rule
        if mistakes:
            return
        for rule_id in shown:
            if rule_id not in named:
                self._sheet.remove(self._prefix + rule_id)
        for rule_id, rule in named.items():
            self._put_body(rule_id, rule)
        self._arrange(list(named))

    def put(self, rule: SentRule, *, before: str | None = None) -> str:
        """Add the rule, or replace the one with its id; ``before`` places it, else it stays or goes last."""
        ids = self.shown_ids()
        rule_id = rule.id or self._new_id()
        self._put_body(rule_id, rule)
        if before is not None or rule_id not in ids:
            self.place(rule_id, ids, before=before)
        return rule_id

    def place(self, rule_id: str, ids: Sequence[str], *, before: str | None) -> None:
        """Put the rule in front of ``before``, which is among ``ids``; None is last."""
        wanted = [i for i in ids if i != rule_id]
        wanted.insert(len(wanted) if before is None else wanted.index(before), rule_id)
        self._arrange(wanted)

    def remove(self, rule_id: str) -> None:
        """Take the rule away if it is there; its place in the order list is left, it hurts nobody."""
        if self._sheet.has(self._prefix + rule_id):
            self._sheet.remove(self._prefix + rule_id)

    def clear(self) -> None:
        """Take all rules away."""
        for rule_id in self.stored_ids():
            self.remove(rule_id)

    def read(self, value: object, path: str, mistakes: Mistakes) -> SentRule:
        """The rule that an author has sent."""
        return self._read(value, path, mistakes)

    def known(
        self, value: object, path: str, mistakes: Mistakes, *, but_not: str | None = None
    ) -> str | None:
        """``value`` as the id of a rule that is there, other than ``but_not``; None if it is None or a mistake."""
        if value is None:
            return None
        if not isinstance(value, str) or value == but_not or value not in self.shown_ids():
            mistakes.add(path, "is not the id of another rule that is there")
            return None
        return value

    def move(self, value: object, *, before: object, path: str, mistakes: Mistakes) -> None:
        """Put the rule ``value`` in front of the rule ``before``, or last. Raises Invalid."""
        moved = self.known(value, pointer(path, "id"), mistakes)
        if moved is None and not mistakes:
            mistakes.add(pointer(path, "id"), "is missing")
        place = self.known(before, pointer(path, "before"), mistakes, but_not=moved)
        mistakes.refuse()
        assert moved is not None, "a missing id has been refused"
        self.place(moved, self.shown_ids(), before=place)

    def put_sent(self, value: object, *, before: object, path: str, mistakes: Mistakes) -> str:
        """Add the rule ``value``, or replace the one with its id; returns the id. Raises Invalid."""
        sent = self.read(value, pointer(path, "rule"), mistakes)
        place = self.known(before, pointer(path, "before"), mistakes, but_not=sent.id)
        mistakes.refuse()
        return self.put(sent, before=place)

    def _put_body(self, rule_id: str, rule: SentRule) -> None:
        stored = self._sheet.value(self._prefix + rule_id)
        wanted = {**rule.body, **of_newer_versions(stored)}
        if not same(stored, wanted):
            self._sheet.put(self._prefix + rule_id, wanted)

    def _arrange(self, wanted: Sequence[str]) -> None:
        among = set(wanted)
        if [i for i in self._in_order() if i in among] != list(wanted):
            self._sheet.put(self._order, list(wanted))

    def _in_order(self) -> list[str]:
        return ordered(dict.fromkeys(self.stored_ids()), self._sheet.value(self._order))
