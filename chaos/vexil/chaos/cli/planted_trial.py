"""What a person sees of the mutation gate: each mutant as soon as it is known, then all of them as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from vexil.chaos.campaign import mutation_gate
from vexil.chaos.campaign.mutation_gate import Finding, Judgement, State, Subject, Trial
from vexil.chaos.cli.progress import Progress
from vexil.chaos.planted.catalogue import ELSEWHERE, LATER
from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.planted.planting import expected
from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.chaos.run.swarm import plan
from vexil.node.cli.output import plain, say, table
from vexil.node.dev.terminal import say as say_at_once

HISTORIES: Final = "tests.sim.directed_histories"
"""Of a source tree; they are no part of the package."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a trial."""

    sound: bool
    document: dict[str, Any]


def run(
    mutants: Sequence[PlantedBug | SwitchedOff],
    *,
    seeds: int | None,
    jobs: int,
    minutes: float,
    histories: str | None,
    quiet: bool,
) -> Found:
    """Try them all, and print what comes of it unless ``quiet``."""
    folder = Path.cwd()
    trial = Trial(
        [Subject(str(mutant), expected(mutant), mutant.profiles) for mutant in mutants],
        seeds=seeds or mutation_gate.SEEDS,
        jobs=jobs,
        minutes=minutes,
        profile_of=_profile_of,
        histories=_histories(folder) if histories is None else histories,
        path=(str(folder),),
    )
    progress = Progress()
    known = 0

    def tell(finding: Finding) -> None:
        nonlocal known
        known += 1
        progress.clear()
        if not quiet:
            say_at_once(_line(finding))
        progress.write(f"{known} of {len(mutants)} are known")

    judgement = mutation_gate.run(trial, tell)
    progress.clear()
    if not quiet:
        _show(judgement, trial)
    return Found(judgement.passed, _plain(judgement))


def missing() -> str:
    """What cannot be planted yet, and why."""
    lines = [f"  {number}: {why}" for number, why in sorted(LATER.items())]
    lines += [f"  {name}: {why}" for name, why in ELSEWHERE.items()]
    return "\n".join(["not there yet:", *lines])


@cache
def _profile_of(seed: int) -> str:
    return plan(seed).profile


def _histories(folder: Path) -> str:
    there = (folder / HISTORIES.replace(".", "/")).with_suffix(".py").is_file()
    return HISTORIES if there else ""


def _line(finding: Finding) -> str:
    detail = plain(finding.detail.partition("\n")[0])
    what = f"{finding.subject.name}: {finding.state.value}"
    cost = f"{finding.tried} {'seed' if finding.tried == 1 else 'seeds'} and {finding.wall_s:.1f} s"
    if finding.state is State.BY_SEED:
        others = "" if finding.expected else f" (expected: {' '.join(sorted(finding.subject.invariants))})"
        return f"{what} by {finding.by}{others} after {cost}, by seed {finding.seed}: {detail}"
    return f"{what} after {cost}{': ' if detail else ''}{detail}"


def _show(judgement: Judgement, trial: Trial) -> None:
    rows = [
        [
            finding.subject.name,
            finding.state.value,
            finding.by,
            " ".join(sorted(finding.subject.invariants)),
            finding.tried,
            f"{finding.wall_s:.1f}",
        ]
        for finding in judgement.findings
    ]
    say(f"\n{table(['planted', 'result', 'by', 'expected', 'seeds', 'seconds'], rows)}")
    say(f"\n{missing()}")
    for seed, violation in sorted(judgement.unsound.items()):
        say(f"\nseed {seed} fails without any bug, so no catch on it counts: {plain(violation)}")
    if cut_short := [finding.subject.name for finding in judgement.findings if finding.cut_short]:
        say(f"\ntime was up before all {trial.seeds} seeds were tried: {', '.join(cut_short)}")
    if not trial.histories:
        say(
            f"\nno histories: run it in the source tree, or give --histories MODULE (there it is {HISTORIES})"
        )
    say(f"\n{_verdict(judgement)}")


def _verdict(judgement: Judgement) -> str:
    states = Counter(finding.state for finding in judgement.findings)
    others = [
        f"{states[s]} {s.value}{', which counts as caught' if s is State.BY_HISTORY else ''}"
        for s in State
        if s is not State.BY_SEED and states[s]
    ]
    median = judgement.median_seeds
    parts = [
        f"caught by seeds: {judgement.caught_by_seeds} of {len(judgement.findings)}",
        *others,
        *([f"median seeds to a catch, of those caught by seeds: {median:g}"] if median is not None else ()),
        f"{judgement.wall_s:.0f} s of wall time",
        *(["interrupted"] if judgement.interrupted else ()),
    ]
    return "; ".join(parts)


def _plain(judgement: Judgement) -> dict[str, Any]:
    return {
        "passed": judgement.passed,
        "caught_by_seeds": judgement.caught_by_seeds,
        "median_seeds": judgement.median_seeds,
        "wall_s": judgement.wall_s,
        "interrupted": judgement.interrupted,
        "unsound_seeds": {str(seed): violation for seed, violation in sorted(judgement.unsound.items())},
        "findings": [
            {
                "name": finding.subject.name,
                "state": finding.state.name.lower(),
                "by": finding.by,
                "expected": sorted(finding.subject.invariants),
                "seed": finding.seed,
                "seeds_tried": finding.tried,
                "wall_s": finding.wall_s,
                "cut_short": finding.cut_short,
                "detail": finding.detail,
            }
            for finding in judgement.findings
        ],
        "missing": {str(what): why for what, why in (*LATER.items(), *ELSEWHERE.items())},
    }
