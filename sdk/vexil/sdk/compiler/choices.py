"""How the operators that choose are written: ``if``, ``and``, ``or``, ``fractional``, segments, and those that loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from vexil.sdk.buckets import GENERATIONS, V3, bounds_of
from vexil.sdk.coercion import truthy
from vexil.sdk.compiler.writer import TESTS, Constant, Expression, Text, Writer, form, in_groups
from vexil.sdk.limits import UNIT_BRANCHES_MAX
from vexil.sdk.rules import IN_SEGMENT, SEGMENT

CONDITIONAL: Final = frozenset({"if", "?:"})
INLINE_BRANCHES_MAX: Final = 8
"""Python nests what is written here, so that a longer ``if``, ``and`` or ``or`` is written in several functions."""


@form("if", "?:")
def _if(writer: Writer, arguments: list[Any], depth: int) -> Expression:
    if len(arguments) > INLINE_BRANCHES_MAX:
        return writer.apart({"if": arguments})
    return _chosen(writer, arguments, depth, truth=False)


@form("if", "?:", among=TESTS)
def _if_holds(writer: Writer, arguments: list[Any], depth: int) -> Expression:
    if len(arguments) > INLINE_BRANCHES_MAX:
        return writer.holds(writer.apart({"if": arguments}))
    return _chosen(writer, arguments, depth, truth=True)


def _chosen(writer: Writer, arguments: list[Any], depth: int, *, truth: bool) -> Expression:
    branches: list[tuple[str, Expression]] = []
    otherwise: Expression | None = None

    def result(rule: Any) -> Expression:
        return writer.test(rule, depth + 1) if truth else writer.value(rule, depth + 1)

    for position in range(0, len(arguments) - 1, 2):
        condition = writer.test(arguments[position], depth + 1)
        if isinstance(condition, Text):
            branches.append((condition.code, result(arguments[position + 1])))
        elif condition.value:
            otherwise = result(arguments[position + 1])
            break
    if otherwise is None:
        otherwise = result(arguments[-1]) if len(arguments) % 2 else Constant(False if truth else None)
    for condition_code, chosen in reversed(branches):
        otherwise = Text(
            f"({writer.code(chosen)} if {condition_code} else {writer.code(otherwise)})",
            boolean=truth or (_is_boolean(chosen) and _is_boolean(otherwise)),
        )
    return otherwise


def _is_boolean(expression: Expression) -> bool:
    if isinstance(expression, Text):
        return expression.boolean
    return expression.value is None or isinstance(expression.value, bool)


def _junction(name: str, *, decided: bool) -> None:
    """``and``, decided by the first argument that does not hold, and ``or``, by the first that does."""

    @form(name, among=TESTS)
    def tested(writer: Writer, arguments: list[Any], depth: int) -> Expression | None:
        return _all_tested(writer, name, arguments, depth)

    @form(name)
    def valued(writer: Writer, arguments: list[Any], depth: int) -> Expression:
        if len(arguments) > INLINE_BRANCHES_MAX:
            groups = [{name: group} for group in in_groups(arguments, INLINE_BRANCHES_MAX)]
            parts = [writer.apart(group) for group in groups]
        else:
            parts = _reached(writer, arguments, depth, decided=decided)
        whole = parts.pop() if parts else Constant(None)
        for part in reversed(parts):
            if isinstance(part, Text):  # a constant that does not decide has no say
                whole = _joined(writer, name, part, whole)
        return whole


def _all_tested(writer: Writer, name: str, arguments: list[Any], depth: int) -> Expression:
    decided = name == "or"
    if len(arguments) > UNIT_BRANCHES_MAX:
        groups = [{name: group} for group in in_groups(arguments, UNIT_BRANCHES_MAX)]
        return _all_tested(writer, name, groups, depth)
    written: list[str] = []
    for argument in arguments:
        held = writer.test(argument, depth + 1)
        if isinstance(held, Text):
            written.append(held.code)
        elif held.value is decided:
            if not written:
                return held
            written.append(str(decided))
            break
    if not written:
        return Constant(bool(arguments) and not decided)
    return Text(f"({f' {name} '.join(written)})", boolean=True)


def _reached(writer: Writer, arguments: list[Any], depth: int, *, decided: bool) -> list[Expression]:
    """Arguments up to the first constant that decides."""
    parts: list[Expression] = []
    for argument in arguments:
        parts.append(part := writer.value(argument, depth + 1))
        if isinstance(part, Constant) and truthy(part.value) is decided:
            break
    return parts


def _joined(writer: Writer, name: str, part: Text, rest: Expression) -> Text:
    """What ``part`` gives if it decides, else what ``rest`` gives."""
    if part.boolean:  # Python's own operators are JsonLogic's, and called the same
        return Text(f"({part.code} {name} {writer.code(rest)})", boolean=_is_boolean(rest))
    held = writer.temporary()
    first, second = (held, writer.code(rest)) if name == "or" else (writer.code(rest), held)
    return Text(f"({first} if truthy({held} := {part.code}) else {second})")


_junction("and", decided=False)
_junction("or", decided=True)


# -- flagd's fractional

LONG: Final = 256
"""Characters of a bucket's value that are read without counting steps."""


@form("fractional")
def _fractional(writer: Writer, arguments: list[Any], depth: int) -> Expression:
    """Shorthand is decided on how the *rule* is written.

    The reference implementation looks at the evaluated first argument, so that a caller whose attribute is an array
    puts an entry into the distribution and chooses his variant. Here an array for a bucket gives null, and so does an
    entry that is not written as an array.
    """
    if not arguments:
        return Constant(None)
    if isinstance(arguments[0], list):
        guard, drawn, entries = None, shorthand(writer), arguments
    else:
        by, entries = writer.value(arguments[0], depth + 1), arguments[1:]
        held = writer.temporary()
        generation = writer.units.generation
        guard = f"isinstance({held} := {writer.code(by)}, ARRAYS)"
        quick = f"{writer.bind(generation.by_value if generation else None)}({held})"
        drawn = (
            f"({quick} if type({held}) is str and len({held}) < {LONG}"
            f" else draw({writer.budget}, {writer.bind(generation)}, {held}))"
        )
    if not all(isinstance(entry, list) for entry in entries):
        return Text(f"(None if {guard} else None)") if guard else Constant(None)
    distribution = distribution_of(entries)
    if distribution is not None:
        bounds, variants = map(writer.bind, distribution)
        picked = f"pick({bounds}, {variants}, {drawn})"
    else:
        written = writer.code(writer.value(list(entries), depth + 1))
        picked = f"pick_computed({written}, {drawn})"
    return Text(f"(None if {guard} else {picked})" if guard else picked)


def shorthand(writer: Writer) -> str:
    """The hash of the flag's key and the targeting key, as text."""
    generation = writer.units.generation
    assert generation is not None
    asked = writer.targeting_key()
    if writer.flag_key is None:
        return f"draw_for({writer.bind(generation)}, f, {asked})"
    try:
        prefix = generation.prefix(writer.flag_key)
    except UnicodeEncodeError:
        return "None"
    return f"{writer.bind(generation.by_targeting_key)}({writer.bind(prefix)}, {asked})"


def shorthand_lines(writer: Writer, drawn: str, without: str) -> list[str]:
    """Statements that set ``drawn`` as `shorthand` says it, and return ``without`` if there is none.

    What is usual is written out, as it is asked most.
    """
    generation = writer.units.generation
    slowly = f"if ({drawn} := {{}}) is None:"
    gives_none = f"    return {without}"
    try:
        if generation is not GENERATIONS[V3] or writer.flag_key is None:
            return [slowly.format(shorthand(writer)), gives_none]
        prefix = writer.bind(generation.prefix(writer.flag_key))
    except UnicodeEncodeError:
        return [f"return {without}"]
    asked, encoded = writer.temporary(), writer.temporary()
    slowly = slowly.format(f"draw_v3({prefix}, {asked})")
    return [
        f"if type({asked} := {writer.targeting_key()}) is str and {asked}:",
        "    try:",
        f"        {encoded} = {asked}.encode()",
        f"        {drawn} = murmur({prefix} + HEADS[len({encoded})] + {encoded})",
        "    except Exception:",
        f"        {slowly}",
        f"        {gives_none}",
        f"el{slowly}",
        gives_none,
    ]


def distribution_of(entries: list[Any]) -> tuple[tuple[int, ...], tuple[Any, ...]] | None:
    """The bounds and the variants of entries that hold no rules and are sound; None of others."""
    for entry in entries:
        if not isinstance(entry, list) or not 1 <= len(entry) <= 2 or isinstance(entry[0], dict | list):
            return None
    bounds = bounds_of([entry[1] if len(entry) == 2 else 1 for entry in entries])
    return None if bounds is None else (bounds, tuple(entry[0] for entry in entries))


# -- segments, always asked about the whole context


@form(SEGMENT)
def _segment(writer: Writer, arguments: list[Any], _depth: int) -> Expression:
    if not arguments or not isinstance(arguments[0], str):
        return Constant(False)
    return _belongs(writer, f"c.get({writer.bind('targetingKey')})", arguments[0])


@form(IN_SEGMENT)
def _in_segment(writer: Writer, arguments: list[Any], depth: int) -> Expression:
    if len(arguments) < 2:
        return Constant(False)
    member = writer.code(writer.value(arguments[0], depth + 1))
    if not isinstance(arguments[1], str):
        return Text(f"(False if truthy({member}) else False)", boolean=True)
    return _belongs(writer, member, arguments[1])


def _belongs(writer: Writer, member: str, segment: str) -> Text:
    name, segments = writer.bind(segment), writer.segments
    by_rules = f"by_rules({segments}, c, now, {writer.budget}, {writer.key}, {name})"
    listed = f"listed({segments}, {member}, {name})"
    return Text(f"({listed} or ({by_rules} if {segments}.segment_tests({name}) else False))", boolean=True)


# -- loops


def _loop(name: str, *, arguments_min: int, without: Callable[[], Any], boolean: bool) -> None:
    @form(name)
    def written(writer: Writer, arguments: list[Any], depth: int) -> Expression:
        if len(arguments) < arguments_min:
            # A new one each time: an array is equal to itself only.
            return Constant(without())
        items = writer.code(writer.value(arguments[0], depth + 1)) if arguments else "None"
        body = writer.units.body(arguments[1] if len(arguments) > 1 else None, writer)
        given = [items]
        if name == "reduce":
            given.append(writer.code(writer.value(arguments[2], depth + 1)) if len(arguments) > 2 else "None")
        segments = writer.segments if body.linked else "None"
        scope = [writer.bind(body.function), segments, "c", "now", writer.budget, writer.key]
        return Text(f"{name}_items({', '.join([*given, *scope])})", boolean=boolean)


def _null() -> None:
    """Of nothing comes nothing."""


_loop("map", arguments_min=0, without=_null, boolean=False)
_loop("filter", arguments_min=2, without=list, boolean=False)
_loop("reduce", arguments_min=0, without=_null, boolean=False)
_loop("all", arguments_min=2, without=bool, boolean=True)
_loop("some", arguments_min=2, without=bool, boolean=True)
_loop("none", arguments_min=2, without=lambda: True, boolean=True)
