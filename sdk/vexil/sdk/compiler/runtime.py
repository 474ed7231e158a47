"""What generated functions call that is no operator: the data of flagd, loops over lists, segments, refusals.

``s, c, now, f`` of generated code are here the flag set, the context, the clock and the key of the flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Never, Protocol, TypeAlias

from vexil.sdk.buckets import GENERATIONS, HEADS, V3, Generation, draw, murmur, pick, pick_computed
from vexil.sdk.budget import Budget
from vexil.sdk.codes import PARSE_ERROR
from vexil.sdk.coercion import at_most, equals, less, truthy
from vexil.sdk.errors import RuleError
from vexil.sdk.limits import SEGMENT_NESTING_MAX
from vexil.sdk.operators import concatenate, contains, ends_with, is_member, lookup, part_of, starts_with
from vexil.sdk.versions import VERSIONS, version_of

Context: TypeAlias = dict[str, Any]
Clock: TypeAlias = Callable[[], float]
"""Unix seconds."""
Unit: TypeAlias = Callable[..., Any]
MISSED: Final = object()
"""No branch of a group of branches was taken."""
SHORT_TEXT: Final = 1024


class Segments(Protocol):
    """What generated functions ask of a flag set."""

    def segment_members(self, key: str) -> AbstractSet[str]:
        """Who is listed in a segment; nobody if there is none."""

    def segment_tests(self, key: str) -> tuple[Unit, ...]:
        """The rules of a segment; none if it is on a cycle. Raises ``RuleError``."""


def flagd(flag_key: str, now: Clock) -> dict[str, Any]:
    """What rules see as ``$flagd``."""
    return {"flagKey": flag_key, "timestamp": int(now())}


def root(context: Mapping[str, Any], flag_key: str, now: Clock) -> dict[str, Any]:
    """All data that a rule sees outside of loops."""
    return {**context, "targetingKey": context.get("targetingKey"), "$flagd": flagd(flag_key, now)}


def refuse(code: str, details: str) -> Never:
    """Raises ``RuleError``."""
    raise RuleError(code, details)


def short(first: Any, second: Any) -> str | None:
    """Two short texts as one; None for others."""
    if type(first) is str and type(second) is str and len(first) + len(second) < SHORT_TEXT:
        return first + second
    return None


def draw_for(generation: Generation, flag_key: str, targeting_key: object) -> int | None:
    """The hash of shorthand, for a flag that is known only now."""
    try:
        return generation.by_targeting_key(generation.prefix(flag_key), targeting_key)
    except UnicodeEncodeError:
        return None


# -- loops; ``scope`` is what the function for an item is called with before it, and that function spends what it costs


def map_items(items: Any, body: Unit, *scope: Any) -> list[Any]:
    """``map``."""
    return [body(*scope, item) for item in items] if isinstance(items, list) else []


def filter_items(items: Any, body: Unit, *scope: Any) -> list[Any]:
    """``filter``."""
    return [item for item in items if truthy(body(*scope, item))] if isinstance(items, list) else []


def reduce_items(items: Any, value: Any, body: Unit, *scope: Any) -> Any:
    """``reduce``. Unlike in the reference implementation the initial value may be computed."""
    for item in items if isinstance(items, list) else ():
        value = body(*scope, {"current": item, "accumulator": value})
    return value


def some_items(items: Any, body: Unit, *scope: Any) -> bool:
    """``some``."""
    return isinstance(items, list) and any(truthy(body(*scope, item)) for item in items)


def none_items(items: Any, body: Unit, *scope: Any) -> bool:
    """``none``."""
    return not some_items(items, body, *scope)


def all_items(items: Any, body: Unit, *scope: Any) -> bool:
    """``all``; as JsonLogic has it, not of nothing."""
    return isinstance(items, list) and bool(items) and all(truthy(body(*scope, item)) for item in items)


# -- segments


def listed(segments: Segments, member: Any, key: str) -> bool:
    """Whether ``member`` is among those listed in a segment."""
    return isinstance(member, str) and member in segments.segment_members(key)


def by_rules(
    segments: Segments, context: Context, now: Clock, budget: Budget, flag_key: str, key: str
) -> bool:
    """Whether a rule of a segment holds. Raises ``RuleError`` if too many segments ask for each other."""
    if budget.segment_nesting == SEGMENT_NESTING_MAX:
        raise RuleError(PARSE_ERROR, f"more than {SEGMENT_NESTING_MAX} segments ask for each other")
    budget.segment_nesting += 1
    try:
        return any(
            truthy(test(segments, context, now, budget, flag_key, None))
            for test in segments.segment_tests(key)
        )
    finally:
        budget.segment_nesting -= 1


NAMES: Final[dict[str, Any]] = {
    # All that generated code can name; Python's own names are not among them but for these.
    "__builtins__": {},
    **{name.__name__: name for name in (Exception, bool, dict, float, int, isinstance, len, list, str, type)},
    "ARRAYS": (list, tuple),
    "Budget": Budget,
    "HEADS": HEADS,
    "MISSED": MISSED,
    "draw_v3": GENERATIONS[V3].by_targeting_key,
    "murmur": murmur,
    "VERSIONS": VERSIONS,
    **{
        function.__name__: function
        for function in (
            all_items,
            at_most,
            by_rules,
            concatenate,
            contains,
            draw,
            draw_for,
            ends_with,
            equals,
            filter_items,
            flagd,
            is_member,
            less,
            listed,
            lookup,
            map_items,
            none_items,
            part_of,
            pick,
            pick_computed,
            reduce_items,
            refuse,
            root,
            short,
            some_items,
            starts_with,
            truthy,
            version_of,
        )
    },
}
