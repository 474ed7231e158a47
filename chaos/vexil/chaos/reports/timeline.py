"""The timeline of a run as text: what it was, what it violates, how to repeat it, and what happened, line by line.

Faults that last are drawn as bars at the left of what happens meanwhile. The length is bounded; what is left out is
counted.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from typing import Final

from vexil.chaos.reports.narrative import (
    LEAD_UP_S,
    Line,
    Weight,
    chosen,
    clean,
    lasted,
    lines_of,
    settings_of,
)
from vexil.chaos.run import swarm
from vexil.chaos.run.history import Violation, Window
from vexil.chaos.run.simulation import Report

LINES_MAX: Final = 400
"""Of what happened, without the header."""
HEAD_LINES: Final = 40
"""Of those, kept from the beginning if there are too many; the others are from the end."""
COLUMNS: Final = 150
LANES_MAX: Final = 8
"""Faults that are drawn side by side; one that begins while so many last has no bar."""


def timeline(report: Report, *, file: str = "") -> str:
    """The text; ``file`` is the artefact that repeats the run, if there is one."""
    return "\n".join([*header(report, file=file), "", *_story(report)]) + "\n"


def repeat_line(report: Report, file: str) -> str:
    """The command that repeats the run; "" if there is none: no file, and no seed draws this plan."""
    if file:
        return f"vexil chaos replay {shlex.quote(file)}"
    drawn = swarm.plan(report.plan.seed) == report.plan
    return f"vexil chaos sim --seeds {report.plan.seed}" if drawn else ""


def since_work_s(report: Report, at_s: float) -> float:
    """The moment as the plan counts: since the work began; negative during the set-up."""
    return at_s - report.history.began_s


def violation_text(report: Report, violation: Violation) -> str:
    """What did not hold, and when."""
    return clean(f"{violation.invariant} at {since_work_s(report, violation.at_s):.3f} s: {violation.detail}")


def facts(report: Report, *, file: str = "") -> Iterator[tuple[str, str]]:
    """The header as pairs of a name and a text."""
    plan = report.plan
    yield "run", f"seed {plan.seed}, profile {plan.profile}, {report.verdict.value}"
    nodes = ", ".join(f"{region} {count}" for region, count in plan.layout.items())
    yield "nodes", f"{nodes}; {'a store each' if plan.embedded else 'a store a region'}"
    parts = f"{len(plan.faults)} faults, {len(plan.operations)} operations of {len(plan.clients)} clients"
    parts += f", {len(plan.services)} services" if plan.services else ""
    yield "work", f"{plan.work_s:.1f} s, {parts}; {report.acknowledged} writes acknowledged"
    if settings := settings_of(plan):
        yield "world", ", ".join(settings)
    yield "verdicts", ", ".join(f"{name} {verdict.value}" for name, verdict in report.verdicts.items())
    if report.not_fired:
        yield "never struck", ", ".join(report.not_fired)
    for violation in report.violations:
        yield "violated", violation_text(report, violation)
    if command := repeat_line(report, file):
        yield "repeat", command


def header(report: Report, *, file: str = "") -> list[str]:
    """The header as lines."""
    pairs = list(facts(report, file=file))
    width = max(len(name) for name, _ in pairs)
    return [
        line
        for name, text in pairs
        for line in textwrap.wrap(
            text,
            COLUMNS,
            initial_indent=name.ljust(width + 2),
            subsequent_indent=" " * (width + 2),
            break_on_hyphens=False,
            # A command is copied as it is.
            break_long_words=name != "repeat",
        )
    ]


def _story(report: Report) -> Iterator[str]:
    early, late = chosen(report, lines_of(report))
    width = min(max((len(line.place) for line in (*early, *late)), default=0), 24)
    bars = _Bars(report.history.windows)
    yield f"{'seconds':>9}    {'where':{width}}  what"
    for part, lines in enumerate((early, late)):
        if part and lines:
            yield f"{'':9}    {f' the last {LEAD_UP_S:g} s before it ':-^{COLUMNS - 13}}"
        hidden = left_out(early, late)[part]
        for index, line in enumerate(lines):
            text = bars.next(line)
            if index == hidden.start and hidden:
                yield f"{'':9}    … {len(hidden)} lines left out"
            if index not in hidden:
                at_s = since_work_s(report, line.at_s)
                yield _cut(f"{at_s:9.3f}  {mark(line)} {line.place:{width}}  {text}")


def left_out(early: list[Line], late: list[Line]) -> tuple[range, range]:
    """Which lines of each are too many for `LINES_MAX`: those in the middle; the lead-up goes before the rest."""
    late_max = LINES_MAX - min(len(early), LINES_MAX // 4)
    return _middle(len(early), LINES_MAX - min(len(late), late_max)), _middle(len(late), late_max)


def _middle(count: int, most: int) -> range:
    if count <= most:
        return range(0)
    head = min(HEAD_LINES, most // 2)
    return range(head, head + count - most)


def mark(line: Line) -> str:
    """A sign for lines that matter most."""
    return {Weight.VIOLATION: "!", Weight.FAULT: "*", Weight.CONCERNED: ">"}.get(line.weight, " ")


def _cut(text: str) -> str:
    text = text.rstrip()
    return text if len(text) <= COLUMNS else f"{text[: COLUMNS - 1]}…"


class _Bars:
    """The bars at the left of the text: a column for each fault while it lasts."""

    def __init__(self, windows: list[Window]) -> None:
        self._windows = windows
        self._lanes: list[int | None] = []

    def next(self, line: Line) -> str:
        """The text of the next line with the bars before it."""
        lane = self._lanes.index(line.window) if line.is_end and line.window in self._lanes else None
        begins = line.window >= 0 and not line.is_end and lasted(self._windows[line.window])
        if begins:
            lane = self._free()
            if lane is not None:
                self._lanes[lane] = line.window
        bars = [" " if number is None else "│" for number in self._lanes]
        if lane is not None:
            bars[lane] = "┌" if begins else "└"
            if not begins:
                self._lanes[lane] = None
        while self._lanes and self._lanes[-1] is None:
            self._lanes.pop()
        return f"{''.join(bars)} {line.text}" if bars else line.text

    def _free(self) -> int | None:
        if None in self._lanes:
            return self._lanes.index(None)
        if len(self._lanes) == LANES_MAX:
            return None
        self._lanes.append(None)
        return len(self._lanes) - 1
