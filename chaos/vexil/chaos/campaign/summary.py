"""What a campaign keeps of a run, and of all runs together: numbers and a few sentences, never a history.

The one idea: sums. A `Tally` is as large after a million runs as after a hundred.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from vexil.chaos.checkers import p16_same_trace
from vexil.chaos.checkers.checker import Verdict
from vexil.chaos.reports.measures import Measures, measure
from vexil.chaos.run.simulation import Report

SENTENCES_MAX: Final = 5
"""Violations of one run that are kept."""
NOT_ENDED: Final = "harness"
"""Stands in the place of an invariant for a run that could not be judged: it hung, died or raised."""
REPEATABLE: Final = p16_same_trace.INVARIANT
NOTHING_ACKNOWLEDGED: Final = "no write was acknowledged"


@dataclass(frozen=True, slots=True)
class Summary:
    """One run."""

    seed: int
    plan: str = ""
    verdict: str = Verdict.UNKNOWN.value
    verdicts: dict[str, str] = field(default_factory=dict)
    """By invariant."""
    invariant: str = ""
    """The first that did not hold; `NOT_ENDED` if the run could not be judged."""
    violations: tuple[str, ...] = ()
    unknown_because: tuple[str, ...] = ()
    writes: int = 0
    acknowledged: int = 0
    reads: int = 0
    fired: dict[str, int] = field(default_factory=dict)
    """By kind of fault: how often it struck."""
    struck: tuple[tuple[str, str, int], ...] = ()
    """Fault, protocol step, how often the one struck in the midst of the other."""
    measures: Measures = field(default_factory=Measures)
    virtual_s: float = 0.0
    trace_hash: str = ""

    @property
    def violation(self) -> str:
        """The first of what did not hold, on one line."""
        return self.violations[0].partition("\n")[0] if self.violations else ""

    @property
    def failed(self) -> bool:
        """Whether something did not hold, or could not be judged."""
        return self.verdict == Verdict.FAIL.value


@dataclass(frozen=True, slots=True)
class Kept:
    """A failing run on disk."""

    artefact: str
    timelines: tuple[str, ...] = ()
    """The same run for people: as text and as HTML."""
    size: str = ""
    """Of the plan, as it was and as it is now if it was made smaller."""
    remarks: tuple[str, ...] = ()
    """On how it was made smaller: that a bound was reached, and errors that trials ended with."""


def summary_of(report: Report) -> Summary:
    """What is kept of ``report``."""
    return Summary(
        seed=report.plan.seed,
        plan=str(report.plan),
        verdict=report.verdict.value,
        verdicts={
            **{invariant: verdict.value for invariant, verdict in report.verdicts.items()},
            # Some are judged by the run itself: what must come true within a bound.
            **{violation.invariant: Verdict.FAIL.value for violation in report.violations},
        },
        invariant=report.violations[0].invariant if report.violations else "",
        violations=tuple(map(str, report.violations[:SENTENCES_MAX])),
        unknown_because=_unknown_because(report) if report.verdict is Verdict.UNKNOWN else (),
        writes=len(report.history.writes),
        acknowledged=report.acknowledged,
        reads=len(report.history.reads),
        fired=dict(report.history.fired),
        struck=tuple((*where, times) for where, times in sorted(report.history.struck.items())),
        measures=measure(report.plan, report.history),
        virtual_s=report.virtual_s,
        trace_hash=report.trace_hash,
    )


def lost(seed: int, why: str) -> Summary:
    """A run of which nothing came back: a failure of its own kind."""
    return Summary(seed=seed, verdict=Verdict.FAIL.value, invariant=NOT_ENDED, violations=(why,))


def _unknown_because(report: Report) -> tuple[str, ...]:
    reasons = [f"{kind} never struck" for kind in report.not_fired]
    return (*reasons, *(() if report.acknowledged else (NOTHING_ACKNOWLEDGED,)))


@dataclass(slots=True)
class Tally:
    """All runs of a campaign so far."""

    runs: Counter[str] = field(default_factory=Counter)
    """By verdict."""
    invariants: dict[str, Counter[str]] = field(default_factory=dict)
    """By invariant and verdict."""
    unknown_because: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    acknowledged: int = 0
    reads: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)
    measures: Measures = field(default_factory=Measures)
    virtual_s: float = 0.0

    def add(self, summary: Summary) -> None:
        """Count one more run."""
        self.runs[summary.verdict] += 1
        for invariant, verdict in summary.verdicts.items():
            self.invariants.setdefault(invariant, Counter())[verdict] += 1
        self.unknown_because.update(summary.unknown_because)
        self.writes += summary.writes
        self.acknowledged += summary.acknowledged
        self.reads += summary.reads
        self.fired.update(summary.fired)
        for fault, step, times in summary.struck:
            self.struck[fault, step] += times
        self.measures += summary.measures
        self.virtual_s += summary.virtual_s

    @property
    def seeds(self) -> int:
        """How many there were."""
        return self.runs.total()

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self.runs[Verdict.FAIL.value]
