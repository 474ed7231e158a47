"""The body of a generated function: an ``if`` becomes statements, everything else one expression that is returned.

A function returns what its rule gives, or, being the function of a flag, the answer for that. Many branches are taken
in groups, each a function that says whether one of its branches was taken.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from vexil.sdk.answers import Evaluation, FlagAnswers
from vexil.sdk.compiler.choices import CONDITIONAL, distribution_of, shorthand_lines
from vexil.sdk.compiler.writer import Constant, Expression, Text, Writer, in_groups, operation_of
from vexil.sdk.limits import UNIT_BRANCHES_MAX, UNIT_DEPTH_MAX, UNIT_NODES_MAX

INDENT_MAX: Final = 8
SPLIT_MAX: Final = 8
"""Entries of a split that are compared one by one."""


class Results(Protocol):
    """What a function returns for what its rule gives."""

    def of(self, writer: Writer, expression: Expression) -> str:
        """The text after ``return``."""


class Values:
    """It returns what the rule gives."""

    def of(self, writer: Writer, expression: Expression) -> str:
        """The text after ``return``."""
        return writer.code(expression)


class Answers:
    """It returns the flag's answer; that for a constant is made here, once for each."""

    def __init__(self, answers: FlagAnswers) -> None:
        self._answers = answers
        self._made: dict[object, Evaluation] = {}

    def of(self, writer: Writer, expression: Expression) -> str:
        """The text after ``return``."""
        if isinstance(expression, Text):
            return f"{writer.result(self._answers)}.give({expression.code})"
        result = expression.value
        if result is not None and not isinstance(result, str):
            return writer.result(self._answers.of_constant(result))
        if result not in self._made:
            self._made[result] = self._answers.of_constant(result)
        return writer.result(self._made[result])


class Body:
    """The statements of one function."""

    def __init__(self, writer: Writer, results: Results) -> None:
        self.lines: list[str] = []
        self._writer = writer
        self._results = results

    def returns(self, rule: Any, *, indent: int = 1, depth: int = 0, subject: bool = False) -> None:
        """Return what ``rule`` gives. ``subject``: it is what the function is made for, and written nowhere else."""
        writer = self._writer
        here = self._is_operation(rule) and (subject or self._is_small(rule, indent, depth))
        if here and isinstance(rule, dict):
            name, arguments = operation_of(rule)
            if name in CONDITIONAL:
                writer.nodes += 1
                self.chooses(arguments, indent, depth)
                return
            if name == "fractional" and self._splits(arguments, indent):
                return
        expression = writer.written(rule, depth) if here and subject else writer.value(rule, depth)
        self._line(indent, f"return {self._results.of(writer, expression)}")

    def _is_operation(self, rule: Any) -> bool:
        if self._writer.units.generation is None:
            return False
        return isinstance(rule, list) or (isinstance(rule, dict) and len(rule) == 1)

    def _is_small(self, rule: Any, indent: int, depth: int) -> bool:
        return (
            indent < INDENT_MAX
            and depth < UNIT_DEPTH_MAX
            and self._writer.nodes < UNIT_NODES_MAX
            and not self._writer.units.references.is_shared(rule)
        )

    def chooses(self, arguments: list[Any], indent: int = 1, depth: int = 0) -> None:
        """Return what ``if`` gives with these arguments."""
        pairs = [arguments[position : position + 2] for position in range(0, len(arguments) - 1, 2)]
        if not self.takes(pairs, indent=indent, depth=depth):
            self.returns(arguments[-1] if len(arguments) % 2 else None, indent=indent, depth=depth + 1)

    def takes(self, pairs: list[list[Any]], *, indent: int = 1, depth: int = 0) -> bool:
        """Return what the first of ``pairs`` whose condition holds gives; whether one holds always."""
        writer = self._writer
        if len(pairs) > UNIT_BRANCHES_MAX:
            for group in in_groups(pairs, UNIT_BRANCHES_MAX):
                found = writer.temporary()
                called = writer.call(writer.units.branches(group, writer, self._results))
                self._line(indent, f"if ({found} := {called.code}) is not MISSED:")
                self._line(indent + 1, f"return {found}")
            return False
        for condition, result in pairs:
            held = writer.test(condition, depth + 1)
            if isinstance(held, Text):
                self._line(indent, f"if {held.code}:")
                self.returns(result, indent=indent + 1, depth=depth + 1)
            elif held.value:
                self.returns(result, indent=indent, depth=depth + 1)
                return True
        return False

    def _splits(self, arguments: list[Any], indent: int) -> bool:
        """Write shorthand with sound entries as comparisons; whether it is that."""
        writer = self._writer
        if not arguments or len(arguments) > SPLIT_MAX or not all(isinstance(one, list) for one in arguments):
            return False
        distribution = distribution_of(arguments)
        if distribution is None:
            return False
        bounds, variants = distribution
        drawn = writer.temporary()
        results = [self._results.of(writer, Constant(variant)) for variant in variants]
        without = self._results.of(writer, Constant(None))
        for line in shorthand_lines(writer, drawn, without):
            self._line(indent, line)
        for bound, result in zip(bounds[:-1], results[:-1], strict=True):
            self._line(indent, f"if {drawn} < {writer.bind(bound)}:")
            self._line(indent + 1, f"return {result}")
        self._line(indent, f"return {results[-1]}")
        return True

    def _line(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)
