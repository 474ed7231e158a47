"""The sums of a campaign, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from vexil.chaos import faults
from vexil.chaos.campaign.campaign import Ended
from vexil.chaos.campaign.summary import Tally
from vexil.chaos.checkers.checker import Verdict
from vexil.chaos.faults.fault import KINDS
from vexil.chaos.reports import measures
from vexil.chaos.reports.coverage import Coverage
from vexil.chaos.reports.coverage import coverage as coverage_of
from vexil.node.cli.output import table

assert faults.__doc__, "the kinds register themselves"
_VERDICTS = [verdict.value for verdict in Verdict]


def sentence(tally: Tally) -> str:
    """How many there were, and what came of them."""
    counts = {verdict: tally.runs[verdict] for verdict in _VERDICTS}
    return f"{tally.seeds:,} run, {counts['pass']:,} passed, {counts['fail']:,} failed, {counts['unknown']:,} unknown"


def speed(ended: Ended, *, jobs: int) -> str:
    """How fast it was."""
    return (
        f"{ended.seeds_per_minute:.0f} seeds a minute, {ended.simulated_s_per_s:.0f} simulated seconds a second "
        f"({ended.wall_s:.0f} s with {jobs} {'process' if jobs == 1 else 'processes'})"
    )


def sections(ended: Ended, *, jobs: int, coverage: bool) -> Iterator[str]:
    """What is said below the first line, part by part."""
    tally = ended.tally
    if tally.unknown_because:
        yield "unknown because:\n" + "\n".join(
            f"  {times:,}: {reason}" for reason, times in tally.unknown_because.most_common()
        )
    yield table(
        ["invariant", *_VERDICTS],
        [
            [name, *(counts[v] for v in _VERDICTS)]
            for name, counts in sorted(tally.invariants.items(), key=_by_number)
        ],
    )
    yield f"{tally.writes:,} writes, {tally.acknowledged:,} acknowledged; {tally.reads:,} reads"
    yield measures.table(tally.measures).rstrip()
    if coverage:
        yield _coverage(coverage_of(tally.struck, tally.fired, list(KINDS)))
    yield speed(ended, jobs=jobs)


def plain(ended: Ended, *, jobs: int) -> dict[str, Any]:
    """All of it for programs; the coverage too."""
    tally = ended.tally
    return {
        "seeds": tally.seeds,
        **{verdict: tally.runs[verdict] for verdict in _VERDICTS},
        "interrupted": ended.interrupted,
        "unknown_because": dict(tally.unknown_because.most_common()),
        "invariants": {
            name: {verdict: counts[verdict] for verdict in _VERDICTS}
            for name, counts in sorted(tally.invariants.items(), key=_by_number)
        },
        "writes": tally.writes,
        "acknowledged": tally.acknowledged,
        "reads": tally.reads,
        "faults": dict(sorted(tally.fired.items())),
        "coverage": coverage_of(tally.struck, tally.fired, list(KINDS)).plain(),
        "measures": msgspec.to_builtins(tally.measures),
        "wall_s": ended.wall_s,
        "jobs": jobs,
        "seeds_per_minute": ended.seeds_per_minute,
        "simulated_s_per_s": ended.simulated_s_per_s,
    }


def _coverage(found: Coverage) -> str:
    never = ", ".join(found.never)
    return "\n".join(
        (
            f"faults by protocol step: {found.met:,} of {len(found.faults) * len(found.steps):,} pairs were met",
            *(f"  {line}" for line in found.legend),
            table(found.headings, found.rows),
            *([f"no fault has met: {never}"] if never else ()),
        )
    )


def _by_number(item: tuple[str, object]) -> tuple[int, str]:
    """P2 before P10, and whatever has no number at the end."""
    name = item[0]
    digits = name.removeprefix("P")
    return (int(digits) if digits.isdecimal() else 10**6, name)
