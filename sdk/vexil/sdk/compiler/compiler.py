"""The compiler of one flag set: a flag becomes one function, once, when it is first asked for.

The function of a flag takes a context and a clock, and returns one of the answers that are there already. What flags
share, evaluators and the rules of segments, becomes functions that are shared too. A function knows the flag set that
it answers in only if it must, for segments; all others serve every later state of the set in which their flag is the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

from vexil.sdk.answers import Errors, Evaluation, FlagAnswers, is_off, merged_metadata
from vexil.sdk.buckets import GENERATIONS
from vexil.sdk.codes import DEFAULT, GENERAL, STATIC
from vexil.sdk.compiler import choices, forms
from vexil.sdk.compiler.branches import Answers, Body, Results, Values
from vexil.sdk.compiler.functions import TOP, UNIT, code_of, function_of, names_of
from vexil.sdk.compiler.writer import FORMS, INLINE, UnitFunction, Writer
from vexil.sdk.errors import RuleError
from vexil.sdk.operators import OPERATORS, READS_DATA
from vexil.sdk.references import References
from vexil.sdk.rules import has_logic, is_static, logic_of

assert FORMS.keys() >= choices.CONDITIONAL
assert INLINE.keys() - {forms.VARIABLE} <= OPERATORS.keys()

KNOWN_OPERATORS: Final = frozenset(OPERATORS) | frozenset(READS_DATA) | frozenset(FORMS)
"""Every operator that a rule may name."""

Function = Callable[..., Evaluation]
"""Of a context, a clock and, if one flag is asked on behalf of another, their budget."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A flag's function before it is bound to a flag set. ``linked``: it has to be."""

    code: CodeType
    constants: tuple[Any, ...]
    linked: bool = False

    def function(self, flag_set: object) -> Function:
        """The function in ``flag_set``."""
        bound = (*self.constants, flag_set) if self.linked else self.constants
        return function_of(self.code, (None, *bound))


class Compiler:
    """Compiles the flags of a set with one state of evaluators, metadata and bucketing. For several threads."""

    def __init__(self, references: References, metadata: Mapping[str, Any], bucketing: str) -> None:
        self.references = references
        self.bucketing = bucketing
        self.generation = GENERATIONS.get(bucketing)
        self._set_metadata = metadata
        self._metadata = merged_metadata(metadata, None)
        self._shared: dict[tuple[int, bool], UnitFunction] = {}

    def metadata(self, document: object) -> Mapping[str, Any]:
        """What the answers of a flag say beside its value; one object for all flags that add nothing."""
        of_flag = document.get("metadata") if isinstance(document, Mapping) else None
        return merged_metadata(self._set_metadata, of_flag) if of_flag else self._metadata

    def flag(self, key: str, document: object) -> Compiled:
        """A flag, its prerequisites aside. Total: what cannot be run gives an error."""
        if not isinstance(document, Mapping):
            return always(FlagAnswers(key, {}, {}).error(GENERAL, "the flag cannot be read"))
        answers = FlagAnswers(key, document, self.metadata(document))
        if is_off(document):
            return always(answers.off())
        if not has_logic(document):
            return always(answers.default(STATIC if is_static(document) else DEFAULT))
        try:
            logic = logic_of(document, self.references)
        except RuleError as error:
            return always(answers.fail(error))
        return self._function_of_flag(key, logic, answers)

    def _function_of_flag(self, key: str, logic: Any, answers: FlagAnswers) -> Compiled:
        writer = Writer(self, flag_key=key, top=True)
        body = Body(writer, Answers(answers))
        if isinstance(logic, list):
            body.chooses(logic)
        else:
            body.returns(logic)
        failing = writer.result(Errors(key, answers.metadata))
        lines = [
            "    try:",
            *("    " + line for line in body.lines),
            "    except Exception as error:",
            f"        return {failing}.fail(error)",
        ]
        parameters = [*TOP, *names_of(writer.constants), *(["s"] if writer.linked else [])]
        bound = (tuple(writer.results), *writer.constants)
        return Compiled(code_of(parameters, lines), bound, writer.linked)

    def condition(self, rule: object) -> Callable[..., Any]:
        """A function of ``(s, c, now, b, f, d)`` that gives what an expanded rule gives, for whichever flag ``f``."""
        return self._unit(rule, Writer(self, flag_key=None), Values(), spends=True).function

    # -- for the writer

    def shared(self, rule: object, *, item: bool) -> UnitFunction:
        """The function of an evaluator, made once."""
        address = (id(rule), item)  # kept by the references, as long as this
        unit = self._shared.get(address)
        if unit is None:
            unit = self._unit(rule, Writer(self, flag_key=None, item=item), Values(), spends=True)
            self._shared[address] = unit
        return unit

    def part(self, rule: object, writer: Writer) -> UnitFunction:
        """A function for a part of what ``writer`` writes."""
        return self._unit(rule, Writer(self, flag_key=writer.flag_key, item=writer.item), Values())

    def body(self, rule: object, writer: Writer) -> UnitFunction:
        """A function that is called for each item of a list."""
        return self._unit(rule, Writer(self, flag_key=writer.flag_key, item=True), Values(), spends=True)

    def branches(self, pairs: list[list[Any]], writer: Writer, results: Results) -> UnitFunction:
        """A function for some branches of what ``writer`` writes; it returns ``MISSED`` if it takes none."""
        part = Writer(self, flag_key=writer.flag_key, item=writer.item)
        body = Body(part, results)
        if not body.takes(pairs):
            body.lines.append("    return MISSED")
        return _unit_of(part, body.lines)

    def _unit(self, rule: Any, writer: Writer, results: Results, *, spends: bool = False) -> UnitFunction:
        body = Body(writer, results)
        body.returns(rule, subject=True)
        lines = body.lines
        if spends:
            lines.insert(0, f"    {writer.budget}.spend({writer.bind(writer.nodes + 1)})")
        return _unit_of(writer, lines)


def _unit_of(writer: Writer, lines: list[str]) -> UnitFunction:
    code = code_of([*UNIT, *names_of(writer.constants)], lines)
    return UnitFunction(function_of(code, tuple(writer.constants)), writer.linked, writer.budgeted)


def always(evaluation: Evaluation) -> Compiled:
    """A flag that gives the same answer to everyone."""
    return Compiled(_ALWAYS, (evaluation,))


_ALWAYS: Final = code_of(TOP, ["    return r"])
