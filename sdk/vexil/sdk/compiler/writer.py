"""The writer: JsonLogic in, Python's source text and the objects that it is about out.

Source is made of our own names and of numbers that we count; nothing of a rule becomes source. What a rule holds is
*bound*: an object among the defaults of the generated function, reached by a parameter. So two rules of the same shape
have the same source, and their functions share one code object.

Functions are kept small (``UNIT_NODES_MAX``, ``UNIT_DEPTH_MAX``): what is larger or deeper goes into functions of its
own, because Python's compiler takes neither without end. Each operator says in a *form* how it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from vexil.sdk.buckets import Generation
from vexil.sdk.budget import Budget
from vexil.sdk.codes import GENERAL, PARSE_ERROR
from vexil.sdk.coercion import truthy
from vexil.sdk.compiler.functions import pooled
from vexil.sdk.limits import FOLDING_STEPS_MAX, UNIT_BRANCHES_MAX, UNIT_DEPTH_MAX, UNIT_NODES_MAX
from vexil.sdk.operators import GIVE_BOOLEANS, GIVE_SCALARS, OPERATORS, READS_DATA, SPEND_NOTHING
from vexil.sdk.references import References


@dataclass(frozen=True, slots=True)
class Constant:
    """What a rule gives whatever it is asked."""

    value: Any


@dataclass(frozen=True, slots=True)
class Text:
    """An expression of Python. ``boolean``: it gives a boolean or null."""

    code: str
    boolean: bool = False


Expression: TypeAlias = Constant | Text
Form: TypeAlias = Callable[["Writer", list[Any], int], Expression | None]
"""How an operation with these arguments, at this depth, is written; None, before it has written any of them, if as any
other operator."""
Inline: TypeAlias = Callable[["Writer", list[Expression]], Expression | None]
"""How an operation on written arguments is written without a call of its operator; None if it is called."""

FORMS: Final[dict[str, Form]] = {}
"""Of operators that do not evaluate all of their arguments; what it gives is a value."""
TESTS: Final[dict[str, Form]] = {}
"""The same where only the truth of the result is asked for."""
INLINE: Final[dict[str, Inline]] = {}
"""Of operators that do, for the arguments that they have most."""

TARGETING_KEY: Final = "targetingKey"
LITERALS: Final = {None: "None", True: "True", False: "False"}


def form(*names: str, among: dict[str, Form] = FORMS) -> Callable[[Form], Form]:
    """Registers the form of the operators ``names``."""

    def register(written: Form) -> Form:
        among.update(dict.fromkeys(names, written))
        return written

    return register


def inline(*names: str) -> Callable[[Inline], Inline]:
    """Registers how the operators ``names`` are written inline."""

    def register(written: Inline) -> Inline:
        INLINE.update(dict.fromkeys(names, written))
        return written

    return register


@dataclass(frozen=True, slots=True)
class UnitFunction:
    """A generated function of ``(s, c, now, b, f, d)``: flag set, context, clock, budget, flag key, item in scope."""

    function: Callable[..., Any]
    linked: bool
    """It uses the flag set."""
    budgeted: bool
    """It uses the budget."""


class Units(Protocol):
    """What a writer asks of the compiler: functions of their own, for parts of what it writes."""

    references: References
    generation: Generation | None
    """How buckets are drawn; None if this version does not know the project's."""
    bucketing: str

    def shared(self, rule: object, *, item: bool) -> UnitFunction:
        """The function of an evaluator, made once."""

    def part(self, rule: object, writer: Writer) -> UnitFunction:
        """A function for a part of what ``writer`` writes."""

    def body(self, rule: object, writer: Writer) -> UnitFunction:
        """A function that is called for each item of a list."""

    def branches(self, pairs: list[list[Any]], writer: Writer, results: Any) -> UnitFunction:
        """A function for some branches of what ``writer`` writes."""


class Writer:
    """Writes one generated function.

    ``item``: variables are looked up in an item of a list, not in the context. ``flag_key`` is None for what several
    flags share. ``top``: it is the function of a flag itself, which has no parameters for what it knows.
    """

    def __init__(self, units: Units, *, flag_key: str | None, item: bool = False, top: bool = False) -> None:
        self.units = units
        self.flag_key = flag_key
        self.item = item
        self.constants: list[Any] = []
        self.results: list[Any] = []
        self.nodes = 0
        self.linked = False
        self.budgeted = False
        self._top = top
        self._bound: dict[object, str] = {}
        self._held: list[Any] = []
        self._temporaries = 0

    # -- what is in scope, as text

    @property
    def segments(self) -> str:
        """The flag set."""
        self.linked = True
        return "s"

    @property
    def budget(self) -> str:
        """The budget; the function of a flag makes one when it first needs it."""
        self.budgeted = True
        return "(b or (b := Budget()))" if self._top else "b"

    @property
    def key(self) -> str:
        """The key of the flag that is evaluated."""
        return "f" if self.flag_key is None else self.bind(self.flag_key)

    @property
    def data(self) -> str:
        """All data in scope."""
        return "d" if self.item else f"root(c, {self.key}, now)"

    def targeting_key(self) -> str:
        """The targeting key in scope."""
        name = repr(TARGETING_KEY)
        return f"(d.get({name}) if isinstance(d, dict) else None)" if self.item else f"c.get({name})"

    def bind(self, value: Any) -> str:
        """The name of the parameter that holds ``value``; the one name that we have given all callers is written."""
        if type(value) is str and value == TARGETING_KEY:
            return repr(TARGETING_KEY)
        identity: object = value if type(value) is str else id(value)
        if identity not in self._bound:
            self._bound[identity] = f"k{len(self.constants)}"
            self.constants.append(pooled(value))
            self._held.append(value)  # so that no other object gets its id
        return self._bound[identity]

    def result(self, value: Any) -> str:
        """As `bind`, of what only this flag has. One parameter holds it all: most of it is never touched."""
        if not self._top:
            return self.bind(value)
        for position, kept in enumerate(self.results):
            if kept is value:
                return f"r[{position}]"
        self.results.append(value)
        return f"r[{len(self.results) - 1}]"

    def temporary(self) -> str:
        """A name that nothing else has."""
        self._temporaries += 1
        return f"t{self._temporaries}"

    def code(self, expression: Expression) -> str:
        """An expression as text."""
        if isinstance(expression, Text):
            return expression.code
        value = expression.value
        if value is None or value is True or value is False:
            return LITERALS[value]
        if isinstance(value, list) and not self._top:
            return f"[*{self.bind(value)}]"  # each time another array, as `==` can tell
        return self.bind(value)

    # -- rules

    def value(self, rule: Any, depth: int) -> Expression:
        """What an expanded rule gives."""
        if not isinstance(rule, dict | list) or (isinstance(rule, dict) and len(rule) != 1):
            return Constant(rule)
        if self.units.generation is None:
            return self.failure(GENERAL, f"this version does not know the bucketing {self.units.bucketing!r}")
        if self.units.references.is_shared(rule):
            return self.call(self.units.shared(rule, item=self.item))
        return self.written(rule, depth)

    def written(self, rule: Any, depth: int) -> Expression:
        """As `value`, of a rule that has more than data."""
        if depth > UNIT_DEPTH_MAX or self.nodes >= UNIT_NODES_MAX:
            return self.apart(rule)
        if isinstance(rule, list):
            return self._list(rule, depth)
        self.nodes += 1
        name, arguments = operation_of(rule)
        written = FORMS.get(name)
        expression = written(self, arguments, depth) if written else None
        return self._call_of_operator(name, arguments, depth) if expression is None else expression

    def test(self, rule: Any, depth: int) -> Expression:
        """Whether what an expanded rule gives holds: a constant boolean, or a text that Python can test."""
        if self._is_simple_operation(rule, depth):
            name, arguments = operation_of(rule)
            written = TESTS.get(name)
            if written is not None:
                self.nodes += 1
                expression = written(self, arguments, depth)
                if expression is not None:
                    return expression
        return self.holds(self.value(rule, depth))

    def holds(self, expression: Expression) -> Expression:
        """Whether the value of an expression holds."""
        if isinstance(expression, Constant):
            return Constant(truthy(expression.value))
        return expression if expression.boolean else Text(f"truthy({expression.code})", boolean=True)

    def values(self, rules: Sequence[Any], depth: int) -> list[Expression]:
        """What several rules give, in order."""
        return [self.value(rule, depth + 1) for rule in rules]

    def apart(self, rule: object) -> Expression:
        """What a rule gives, worked out in a function of its own."""
        return self.call(self.units.part(rule, self))

    def call(self, unit: UnitFunction) -> Text:
        """A call of a function of its own."""
        segments = self.segments if unit.linked else "None"
        budget = self.budget if unit.budgeted else "None"
        item = "d" if self.item else "None"
        return Text(f"{self.bind(unit.function)}({segments}, c, now, {budget}, {self.key}, {item})")

    def failure(self, code: str, details: str) -> Text:
        """What fails when it is reached."""
        return Text(f"refuse({self.bind(code)}, {self.bind(details)})")

    def _is_simple_operation(self, rule: Any, depth: int) -> bool:
        return (
            isinstance(rule, dict)
            and len(rule) == 1
            and self.units.generation is not None
            and not self.units.references.is_shared(rule)
            and depth <= UNIT_DEPTH_MAX
            and self.nodes < UNIT_NODES_MAX
        )

    def _list(self, rule: list[Any], depth: int) -> Expression:
        if len(rule) > UNIT_BRANCHES_MAX and any(isinstance(item, dict | list) for item in rule):
            groups = [self.apart(group) for group in in_groups(rule, UNIT_BRANCHES_MAX)]
            return Text("[" + ", ".join(f"*{self.code(group)}" for group in groups) + "]")
        items = self.values(rule, depth)
        if all(isinstance(item, Constant) for item in items):
            return Constant([item.value for item in items if isinstance(item, Constant)])
        self.nodes += len(items)
        return Text("[" + ", ".join(map(self.code, items)) + "]")

    def _call_of_operator(self, name: str, arguments: list[Any], depth: int) -> Expression:
        operator = OPERATORS.get(name) or READS_DATA.get(name)
        if operator is None:
            return self.failure(PARSE_ERROR, f"unknown operator {name!r}")
        if len(arguments) > UNIT_BRANCHES_MAX:
            written = [f"*{self.code(self._list(arguments, depth))}"]
        else:
            expressions = self.values(arguments, depth)
            constants = [one.value for one in expressions if isinstance(one, Constant)]
            if name in GIVE_SCALARS and len(constants) == len(expressions):
                folded = _folded(operator, constants)
                if folded is not None:
                    return folded
            elif (quick := INLINE.get(name)) and (expression := quick(self, expressions)) is not None:
                return expression
            written = [self.code(expression) for expression in expressions]
        budget = "None" if name in SPEND_NOTHING else self.budget
        scope = [self._data_for(arguments)] if name in READS_DATA else []
        called = f"{self.bind(operator)}({', '.join([budget, *scope, *written])})"
        return Text(called, boolean=name in GIVE_BOOLEANS)

    def _data_for(self, arguments: list[Any]) -> str:
        """The data that is asked for names: the context itself if flagd's own members cannot be among them."""
        if not self.item and all(
            isinstance(name, str) and name and not name.startswith("$flagd") for name in arguments
        ):
            return "c"
        return self.data


def operation_of(rule: dict[str, Any]) -> tuple[str, list[Any]]:
    """The operator of a rule that has one, and its arguments."""
    [(name, arguments)] = rule.items()
    return name, arguments if isinstance(arguments, list) else [arguments]


def in_groups(rules: list[Any], groups: int) -> list[list[Any]]:
    """``rules`` in order, in at most so many ``groups``."""
    size = -(-len(rules) // groups)
    return [rules[start : start + size] for start in range(0, len(rules), size)]


def _folded(operator: Callable[..., Any], values: list[Any]) -> Constant | None:
    try:
        return Constant(operator(Budget(FOLDING_STEPS_MAX), *values))
    except Exception:  # noqa: BLE001 - what fails, fails when it is reached
        return None
