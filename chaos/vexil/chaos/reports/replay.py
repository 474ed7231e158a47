"""A run of an artefact once more: under the bug that was planted then, and compared with what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vexil.chaos.planted.planting import Unplantable, find
from vexil.chaos.reports.artefact import Artefact, BadArtefact, version
from vexil.chaos.run.plan import Plan
from vexil.chaos.run.simulation import Report, run_plan


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it this time."""

    report: Report
    same_violation: bool
    """The first thing that did not hold is of the same invariant, or everything held then as now."""
    same_trace: bool
    """Every event was the same. It need not be in another version of the program, also if the violation is."""


def artefact_of(report: Report, *, planted: str = "", found: str = "") -> Artefact:
    """The artefact that repeats ``report``."""
    return Artefact(report.plan, tuple(report.violations), report.trace_hash, planted, version(), found)


def replay(artefact: Artefact, *, keep_trace: bool = False) -> Replayed:
    """Run it. Raises BadArtefact if it was made under a bug that this program does not know."""
    with planting(artefact.planted):
        report = run_plan(artefact.plan, keep_trace=keep_trace)
    found = report.violations[0].invariant if report.violations else ""
    return Replayed(report, found == artefact.invariant, report.trace_hash == artefact.trace_hash)


def violated(plan: Plan, *, planted: str = "") -> str | None:
    """The invariant that a run of ``plan`` violates first; None if all hold. For `vexil.chaos.reports.shrinking`."""
    with planting(planted):
        violations = run_plan(plan).violations
    return violations[0].invariant if violations else None


@contextmanager
def planting(name: str) -> Iterator[None]:
    """Inside, this process has the bug, the switched-off rule or the refactor of that name; "" is none."""
    if not name:
        yield
        return
    try:
        mutant = find(name)
    except Unplantable as error:
        raise BadArtefact(f"it was made under {name!r}: {error}") from error
    with mutant.apply():
        yield
