"""A run as a story: one line for each thing that happened, in the order of its moment, and which lines matter.

The lines are drawn from the history and, if it was kept, from the trace. What leads up to the violation matters in
full; of what was before it only faults, the lives of processes, and the writes that the violation is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import IntEnum, auto
from typing import Any, Final

from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.faults.fault import KINDS
from vexil.chaos.run.history import Read, Window, Write, requests_of
from vexil.chaos.run.plan import Fault, Knobs, Plan
from vexil.chaos.run.simulation import Report
from vexil.chaos.world.simulated_cluster import ClusterFaults
from vexil.crdt.change import Dot, render_id

LEAD_UP_S: Final = 5.0
"""Before the violation."""
TRACED: Final = frozenset(("message", "answer", "refused"))
"""Kinds of trace lines that say something which the history does not."""
_FLAG: Final = re.compile(r"\bflag[/ ]['\"]?([\w.-]+)")


class Phase(IntEnum):
    """Of things that happen at one moment, which goes first."""

    FAULT = auto()
    LIFE = auto()
    ASKED = auto()
    HAS = auto()
    TOLD = auto()
    VIOLATION = auto()


class Weight(IntEnum):
    """How much a line matters."""

    MESSAGE = auto()
    RECEIVED = auto()
    READ = auto()
    WRITE = auto()
    CONCERNED = auto()
    """A write, or what became of it, that the violation is about."""
    LIFE = auto()
    FAULT = auto()
    VIOLATION = auto()


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    at_s: float
    """Virtual time since the run began, as the history has it."""
    place: str
    text: str
    weight: Weight
    phase: Phase
    window: int = -1
    """Of a fault: which of the history's windows; else -1."""
    is_end: bool = field(default=False, kw_only=True)
    """Of a fault that lasted: it ends here."""


def lines_of(report: Report) -> list[Line]:
    """All of it, in order."""
    concerns = _concern(report)
    found = [
        *_faults(report),
        *_lives(report),
        *_writes(report, concerns),
        *_reads(report),
        *_received(report, concerns),
        *_messages(report),
        *(
            Line(v.at_s, "", clean(f"{v.invariant}: {v.detail}"), Weight.VIOLATION, Phase.VIOLATION)
            for v in report.violations
        ),
    ]
    return sorted(found, key=lambda line: (line.at_s, line.phase))


def clean(text: str) -> str:
    """On one line, and nothing in it that a terminal or a browser would take for an order."""
    joined = " / ".join(filter(None, map(str.strip, text.splitlines())))
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in joined)


def chosen(report: Report, lines: list[Line]) -> tuple[list[Line], list[Line]]:
    """What matters: before the lead-up to the first violation, and from there on. Without one, the second is empty."""
    began_s = report.history.began_s
    # Nobody asked for anything while the cluster was set up. Who began as what is needed to read the rest.
    lines = [line for line in lines if line.at_s >= began_s or line.weight >= Weight.LIFE]
    if not report.violations:
        return [line for line in lines if line.weight >= Weight.WRITE], []
    from_s = max(report.violations[0].at_s - LEAD_UP_S, began_s)
    before = [line for line in lines if line.at_s < from_s and line.weight >= Weight.CONCERNED]
    return before, [line for line in lines if line.at_s >= from_s]


def _faults(report: Report) -> Iterator[Line]:
    for number, window in enumerate(report.history.windows):
        fault, where = window.fault, ", ".join(window.fault.places)
        yield Line(window.began_s, where, describe(fault), Weight.FAULT, Phase.FAULT, number)
        if lasted(window) and window.ended_s is not None:
            text = f"{fault.kind} is over"
            yield Line(window.ended_s, where, text, Weight.FAULT, Phase.FAULT, number, is_end=True)


def lasted(window: Window) -> bool:
    """Whether it has an end of its own on the timeline."""
    return window.ended_s is None or window.ended_s > window.began_s


def describe(fault: Fault) -> str:
    """A fault in a few words, without its places."""
    parts = (
        fault.kind,
        f"for {fault.lasts_s:.2f} s" if fault.lasts_s else "",
        f"{fault.amount:g}" if fault.amount else "",
        fault.point,
        f"(fault {fault.number})",
    )
    return " ".join(filter(None, parts))


def _lives(report: Report) -> Iterator[Line]:
    for event in report.history.events:
        if event.kind not in _TOLD_BETTER:
            text = event.text if event.kind in _PLAIN else f"{event.kind}: {event.text}"
            weight = Weight.READ if event.kind == "looks" else Weight.LIFE
            yield Line(event.at_s, event.place, clean(text), weight, Phase.LIFE)
    if left_out := report.history.events_left_out:
        text = f"{left_out:,} more such events up to the end of the run: no more are kept"
        yield Line(report.history.events[-1].at_s, "", text, Weight.LIFE, Phase.LIFE)


_PLAIN: Final = frozenset(("start", "ready", "stopping", "ended", "returning", "heal"))
_TOLD_BETTER: Final = frozenset((*KINDS, "asks", "hears", "reads"))
"""Events that the history has as windows, writes and reads too."""


def _writes(report: Report, concerns: Callable[[Write], bool]) -> Iterator[Line]:
    for write in report.history.writes:
        weight = Weight.CONCERNED if concerns(write) else Weight.WRITE
        for number, attempt in enumerate(write.attempts, 1):
            again = f" (try {number})" if number > 1 else ""
            if not attempt.slot:
                text = clean(f"{write.key} finds no node for {write.what}{again}")
                yield Line(attempt.began_s, "", text, weight, Phase.ASKED)
                continue
            text = clean(f"{write.key} asks: {write.what}{again}")
            yield Line(attempt.began_s, attempt.slot, text, weight, Phase.ASKED)
            if (over_s := report.history.over_s(attempt)) is not None:
                told = f"{write.key} is told {attempt.answer}"
                if attempt.answer == "ok" and write.dot is not None:
                    told += f": {short_id(write.dot)} {write.durability}"
                yield Line(over_s, attempt.slot, told.rstrip(), weight, Phase.TOLD)


def _reads(report: Report) -> Iterator[Line]:
    for rows in requests_of(report.history.reads):
        yield Line(rows[0].ended_s, rows[0].slot, read_text(rows), Weight.READ, Phase.TOLD)


def read_text(rows: Sequence[Read]) -> str:
    """A request that reads, in a few words."""
    first = rows[0]
    values = ", ".join(f"{row.flag} {row.variant or row.reason}" for row in rows)
    seen = values if first.answer == "ok" else f"{len(rows)} flags, is told {first.answer}"
    return clean(f"{first.client}/{first.number} reads {first.environment}: {seen}")


def _received(report: Report, concerns: Callable[[Write], bool]) -> Iterator[Line]:
    # The same dot may be of another change in another project.
    by_dot = {(PROJECT, write.dot): write for write in report.history.writes if write.dot is not None}
    by_key = {write.key: write for write in report.history.writes}
    for (project, dot), slots in report.history.applied_s.items():
        change = report.history.changes.get(project, {}).get(dot)
        write = by_dot.get((project, dot))
        if write is None and change is not None and change.idempotency is not None:
            # Nobody was told of it.
            write = by_key.get(change.idempotency[0])
        author = "" if change is None else change.author
        what = f"{author} in {project}" if write is None else f"{write.key}, {write.what}"
        weight = Weight.CONCERNED if write is not None and concerns(write) else Weight.RECEIVED
        for slot, at_s in slots.items():
            yield Line(at_s, slot, clean(f"has {short_id(dot)}: {what}"), weight, Phase.HAS)


def short_id(dot: Dot) -> str:
    """A change id that people can tell from others of the run; full ones are in the violation."""
    return f"{dot[0]:016x}"[:6] + f":{dot[1]}"


def _messages(report: Report) -> Iterator[Line]:
    for text in report.trace:
        moment, kind, *facts = text.split()
        if kind in TRACED:
            source, *others = facts
            said = f"{kind} to {' '.join(others)}"
            yield Line(float(moment), source, said, Weight.MESSAGE, Phase.HAS)


def _concern(report: Report) -> Callable[[Write], bool]:
    """Which writes the first violation is about, by what it says: a change, a key, a flag."""
    if not report.violations:
        return lambda _: False
    said = report.violations[0].detail
    flags = {operation.number: operation.flag for operation in report.plan.operations}
    named = {name.rstrip(".") for name in _FLAG.findall(said)}
    words = set(re.split(r"[\s,;()'\"]+", said))

    def is_named(write: Write) -> bool:
        return write.key in words or (write.dot is not None and render_id(write.dot) in words)

    # What was written to the same flag by others may have met it.
    named |= {flags.get(write.number, "") for write in report.history.writes if is_named(write)}
    return lambda write: is_named(write) or flags.get(write.number) in named - {""}


def settings_of(plan: Plan) -> list[str]:
    """What of the plan's world and knobs is not as it is by default: ``network.slow 0.1``."""
    return [*_settings(plan.world, ClusterFaults(), ""), *_settings(plan.knobs, Knobs(), "")]


def _settings(value: Any, plain: Any, where: str) -> Iterator[str]:
    if is_dataclass(value):
        for each in fields(value):
            inner = getattr(value, each.name)
            yield from _settings(inner, getattr(plain, each.name), f"{where}.{each.name}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _settings(inner, type(inner)(), f"{where}.{key}")
    elif value != plain:
        yield f"{where[1:]} {value:.4g}" if isinstance(value, float) else f"{where[1:]} {value}"
