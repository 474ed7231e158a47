"""How the operators that rules are mostly made of are written: variables, comparisons with a constant, versions.

Each asks first for what a sound rule and a sound context have, in Python's own operations, and calls the operator for
everything else. So what is written here says nothing new about what an operator means.
"""

from __future__ import annotations

from typing import Any, Final

from vexil.sdk.compiler.writer import TESTS, Constant, Expression, Text, Writer, form, inline
from vexil.sdk.versions import COMPARISONS, version_of

VARIABLE: Final = "var"
FLAGD: Final = "$flagd"
SHORT_LIST: Final = 32
"""An array of a caller that is searched without counting steps."""


@inline(VARIABLE)
def _variable(writer: Writer, arguments: list[Expression]) -> Expression | None:
    if not 1 <= len(arguments) <= 2:
        return None
    key, default = [*arguments, Constant(None)][:2]
    if not isinstance(key, Constant) or not isinstance(default, Constant):
        return None
    if not isinstance(key.value, str) or not key.value:
        return None
    path = key.value.split(".")
    fallback = writer.code(default)
    if not writer.item and path[0] == FLAGD:
        return _flagds(writer, path[1:], fallback)
    scope = "d" if writer.item else "c"
    if len(path) > 1:
        return Text(f"lookup({scope}, {writer.bind(tuple(path))}, {fallback})")
    name = writer.bind(path[0])
    found = f"{scope}.get({name})"
    if fallback != "None":
        held = writer.temporary()
        found = f"({held} if ({held} := {found}) is not None else {fallback})"
    if not writer.item:
        return Text(found)
    return Text(f"({found} if type(d) is dict else lookup(d, ({name},), {fallback}))")


def _flagds(writer: Writer, path: list[str], fallback: str) -> Text:
    if path == ["flagKey"]:
        return Text(writer.key)
    if path == ["timestamp"]:
        return Text("int(now())")
    members = f"flagd({writer.key}, now)"
    return Text(f"lookup({members}, {writer.bind(tuple(path))}, {fallback})" if path else members)


def _with_constant(both: list[Expression]) -> tuple[int, Any] | None:
    """Of two arguments of which one is constant the place of the other one, and the constant's value."""
    if len(both) != 2:
        return None
    constants = [isinstance(one, Constant) for one in both]
    if constants.count(True) != 1:
        return None
    place = constants.index(False)
    constant = both[1 - place]
    return (place, constant.value) if isinstance(constant, Constant) else None


def _compared(
    writer: Writer, both: list[Expression], place: int, kind: str, quick: str, slow: str
) -> Expression:
    """``quick`` if the variable argument is of ``kind``, else ``slow``; ``{0}`` and ``{1}`` are the arguments."""
    name = writer.temporary()
    sides = [writer.code(both[0]), writer.code(both[1])]
    asked = sides[place]
    sides[place] = name
    code = f"({quick.format(*sides)} if type({name} := {asked}) is {kind} else {slow.format(*sides)})"
    return Text(code, boolean=True)


def _comparison(name: str, python: str, slow: str, kinds: dict[type, str]) -> None:
    @inline(name)
    def written(writer: Writer, arguments: list[Expression]) -> Expression | None:
        found = _with_constant(arguments)
        if found is None or type(found[1]) not in kinds:
            return None
        place, value = found
        return _compared(writer, arguments, place, kinds[type(value)], f"{{0}} {python} {{1}}", slow)


EQUATED: Final[dict[type, str]] = {str: "str", int: "int", bool: "bool"}
ORDERED: Final[dict[type, str]] = {str: "str", int: "int", float: "float"}
_comparison("==", "==", "equals({0}, {1})", EQUATED)
_comparison("!=", "!=", "not equals({0}, {1})", EQUATED)
_comparison("<", "<", "less({0}, {1})", ORDERED)
_comparison("<=", "<=", "at_most({0}, {1})", ORDERED)
_comparison(">", ">", "less({1}, {0})", ORDERED)
_comparison(">=", ">=", "at_most({1}, {0})", ORDERED)


def _identity(name: str, python: str) -> None:
    @inline(name)
    def written(writer: Writer, arguments: list[Expression]) -> Expression | None:
        found = _with_constant(arguments)
        if found is None:
            return None
        # As deep as the constant at most, so that nothing is to be counted.
        first, second = map(writer.code, arguments)
        return Text(f"({first} {python} {second})", boolean=True)


_identity("===", "==")
_identity("!==", "!=")


@inline("in")
def _among(writer: Writer, arguments: list[Expression]) -> Expression | None:
    found = _with_constant(arguments)
    if found is None:
        return None
    place, value = found
    name = writer.temporary()
    asked = writer.code(arguments[place])
    if place == 1:
        if not isinstance(value, str | int | float):
            return None
        member = writer.code(arguments[0])
        quick = f"{member} in {name} if type({name} := {asked}) is list and len({name}) < {SHORT_LIST}"
        return Text(f"({quick} else contains({writer.budget}, {member}, {name}))", boolean=True)
    if isinstance(value, str):
        text = writer.bind(value)
        return Text(
            f"({name} in {text} if type({name} := {asked}) is str else part_of({name}, {text}))", boolean=True
        )
    if not isinstance(value, list):
        return None
    if not all(item is None or isinstance(item, str | int | float) for item in value):
        return Text(f"({asked} in {writer.bind(value)})", boolean=True)
    among = writer.bind(frozenset(value))
    return Text(
        f"({name} in {among} if type({name} := {asked}) is str else is_member({name}, {among}))", boolean=True
    )


def _affix(name: str, *, at_end: bool) -> None:
    @inline(name)
    def written(writer: Writer, arguments: list[Expression]) -> Expression | None:
        found = _with_constant(arguments)
        if found is None or found[0] != 0 or not isinstance(found[1], str) or not found[1]:
            return None
        length = len(found[1])
        part = writer.bind(slice(-length, None) if at_end else slice(0, length))
        # Half the time of the method that Python has for it.
        return _compared(writer, arguments, 0, "str", f"{{0}}[{part}] == {{1}}", f"{name}({{0}}, {{1}})")


_affix("starts_with", at_end=False)
_affix("ends_with", at_end=True)


@inline("sem_ver")
def _version(writer: Writer, arguments: list[Expression]) -> Expression | None:
    if len(arguments) != 3:
        return None
    asked, comparison, wanted = arguments
    if (
        not isinstance(asked, Text)
        or not isinstance(comparison, Constant)
        or not isinstance(wanted, Constant)
    ):
        return None
    version = version_of(wanted.value)
    if version is None or not isinstance(comparison.value, str) or comparison.value not in COMPARISONS:
        return None
    text, found = writer.temporary(), writer.temporary()
    if comparison.value == "^":
        compared = f"{found}[0] == {writer.bind(version[0])}"
    elif comparison.value == "~":
        compared = f"{found}[:2] == {writer.bind(version[:2])}"
    else:
        python = {"=": "=="}.get(comparison.value) or comparison.value
        compared = f"{found} {python} {writer.bind(version)}"
    read = f"VERSIONS[{text}] if type({text} := {asked.code}) is str else version_of({text})"
    return Text(f"({compared} if ({found} := ({read})) is not None else None)", boolean=True)


@inline("cat")
def _joined(writer: Writer, arguments: list[Expression]) -> Expression | None:
    if len(arguments) != 2:
        return None
    held = [writer.temporary(), writer.temporary()]
    first, second = (f"{name} := {writer.code(one)}" for name, one in zip(held, arguments, strict=True))
    return Text(f"(short({first}, {second}) or concatenate({writer.budget}, {held[0]}, {held[1]}))")


@form("!", among=TESTS)
@form("!")
def _negation(writer: Writer, arguments: list[Any], depth: int) -> Expression | None:
    if len(arguments) != 1:
        return None
    held = writer.test(arguments[0], depth + 1)
    if isinstance(held, Constant):
        return Constant(not held.value)
    return Text(f"(not {held.code})", boolean=True)


@form("!!", among=TESTS)
@form("!!")
def _truth(writer: Writer, arguments: list[Any], depth: int) -> Expression | None:
    if len(arguments) != 1:
        return None
    held = writer.test(arguments[0], depth + 1)
    return held if isinstance(held, Constant) else Text(f"(True if {held.code} else False)", boolean=True)
