"""Rewriting JsonLogic so that flagd, which knows no segments, runs it.

A segment becomes ``in`` over its members and its rules. Segments are asked about the whole context; inside the body of
``map`` and its like a variable is looked up in the item, and nothing there can reach the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vexil.sdk.errors import CannotSay, RuleError
from vexil.sdk.limits import EXPORTED_FLAG_BYTES_MAX, SEGMENT_INLINE_MEMBERS_MAX, SEGMENT_NESTING_MAX
from vexil.sdk.logic import IN_SEGMENT, SEGMENT
from vexil.sdk.model import FlagSet
from vexil.sdk.references import References, reference_of
from vexil.sdk.rules import FLAG_KEY, TARGETING_KEY, segment_key

ITERATORS: Final = frozenset({"map", "filter", "reduce", "all", "some", "none"})


class Inliner:
    """Rewrites the rules of one flag; counts what it puts in.

    References to the evaluators in ``shared`` are kept. With ``flag_key`` the rule will stand in another flag: no
    reference is kept, and ``$flagd.flagKey`` is said as a text.
    """

    __slots__ = ("_characters", "_flag_key", "_flag_set", "_nesting", "_references", "_shared")

    def __init__(
        self,
        flag_set: FlagSet,
        references: References,
        *,
        shared: frozenset[str] = frozenset(),
        flag_key: str | None = None,
    ) -> None:
        self._flag_set = flag_set
        self._references = references
        self._shared = shared
        self._flag_key = flag_key
        self._characters = 0
        self._nesting = 0

    def moved_from(self, flag_key: str) -> Inliner:
        """An inliner for rules of ``flag_key`` that are put into another flag."""
        return Inliner(self._flag_set, self._references, flag_key=flag_key)

    def rewrite(self, rule: object) -> Any:
        """``rule``, as written, in flagd's words. Raises ``CannotSay``."""
        if self._flag_key is None:
            return self._rewrite(rule, in_item=False)
        try:
            return self._rewrite(self._references.expand(rule), in_item=False)
        except RuleError as error:
            raise CannotSay(error.details) from error

    def _rewrite(self, value: Any, *, in_item: bool) -> Any:
        if isinstance(value, list):
            return [self._rewrite(item, in_item=in_item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:  # no operation: data
            return {name: self._rewrite(item, in_item=in_item) for name, item in value.items()}
        [(name, arguments)] = value.items()
        reference = reference_of(value)
        if reference is not None and reference in self._flag_set.evaluators:
            return self._referred(value, reference, in_item=in_item)
        if name in {SEGMENT, IN_SEGMENT}:
            return self._segment(value, in_item=in_item)
        if name in ITERATORS and isinstance(arguments, list):
            return {
                name: [
                    self._rewrite(argument, in_item=in_item or position == 1)
                    for position, argument in enumerate(arguments)
                ]
            }
        if self._flag_key is not None and not in_item:
            if (
                name == "fractional"
                and isinstance(arguments, list)
                and isinstance((arguments or [0])[0], list)
            ):
                raise CannotSay(
                    f"the shorthand of fractional in {self._flag_key!r} would take this flag's key"
                )
            if name == "var":
                return self._variable(value, arguments)
        return {name: self._rewrite(arguments, in_item=in_item)}

    def _referred(self, value: dict[str, Any], reference: str, *, in_item: bool) -> Any:
        try:
            body = self._references.expand(value)
        except RuleError as error:
            raise CannotSay(error.details) from error
        rewritten = self._rewrite(body, in_item=in_item)
        return {"$ref": reference} if reference in self._shared else rewritten

    def _variable(self, value: dict[str, Any], arguments: Any) -> Any:
        path = arguments[0] if isinstance(arguments, list) and arguments else arguments
        if path == FLAG_KEY["var"]:
            return self._flag_key
        if not isinstance(path, str) or path in {"", "$flagd"}:
            raise CannotSay(
                f"a variable of {self._flag_key!r} may reach the key of the flag that is evaluated"
            )
        return {"var": self._rewrite(arguments, in_item=False)}

    def _segment(self, operation: Mapping[str, Any], *, in_item: bool) -> Any:
        key = segment_key(operation)
        arguments = operation.get(IN_SEGMENT)
        if SEGMENT in operation:
            if in_item:
                raise CannotSay("a segment is asked for each item of a list")
            member: Any = TARGETING_KEY
        else:
            member = (
                self._rewrite(arguments[0], in_item=in_item)
                if isinstance(arguments, list) and arguments
                else None
            )
        if key is None or key not in self._flag_set.segments:
            return False
        listed = self._flag_set.segment_members(key)
        if len(listed) > SEGMENT_INLINE_MEMBERS_MAX:
            raise CannotSay(f"segment {key!r} has more than {SEGMENT_INLINE_MEMBERS_MAX} members")
        self._characters += sum(map(len, listed))
        if self._characters > EXPORTED_FLAG_BYTES_MAX:
            raise CannotSay(f"its segments would take more than {EXPORTED_FLAG_BYTES_MAX} bytes")
        rules = self._segment_rules(key)
        if rules and in_item:
            raise CannotSay(f"the rules of segment {key!r} are asked for each item of a list")
        among = {"in": [member, sorted(listed)]}
        return {"!!": [{"or": [among, *rules] if listed else rules}]} if rules else among

    def _segment_rules(self, key: str) -> list[Any]:
        if self._nesting == SEGMENT_NESTING_MAX:
            raise CannotSay(f"more than {SEGMENT_NESTING_MAX} segments ask for each other")
        self._nesting += 1
        try:
            return [self._rewrite(rule, in_item=False) for rule in self._flag_set.segment_logic(key)]
        except RuleError as error:
            raise CannotSay(f"segment {key!r}: {error.details}") from error
        finally:
            self._nesting -= 1
