"""``vexil chaos sim``: many seeds, and what they show.

The one idea: what fails is printed at once, on one line with the line that repeats it; sums come at the end, also when
somebody has had enough.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from vexil.chaos.campaign.campaign import Campaign, Ended, Outcome, run
from vexil.chaos.campaign.summary import Kept, Tally
from vexil.chaos.cli import results
from vexil.chaos.cli.progress import Progress
from vexil.chaos.cli.seeds import Seeds, SeedsType
from vexil.chaos.planted.planting import Unplantable, find
from vexil.node.cli.errors import EXIT_FAILED
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import plain, say, show_json
from vexil.node.cli.settings import Settings
from vexil.node.dev.terminal import say as say_at_once

JOBS_MAX: Final = 256
FAILURES_SHOWN_MAX: Final = 1_000
"""In JSON; all are counted."""
ARTEFACTS: Final = "chaos-artefacts"
JOBS_OPTION: Final = click.option(
    "--jobs",
    type=click.IntRange(1, JOBS_MAX),
    default=lambda: os.cpu_count() or 1,
    show_default="one a core",
    help="Processes at a time.",
)


@click.command("sim", cls=Command)
@click.option(
    "--seeds",
    type=SeedsType(),
    default="0..99",
    show_default=True,
    help="From and to, both included; 7: one; 1000..: without end; fresh: without end, from one that is drawn.",
)
@JOBS_OPTION
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), help="Begin no seed after so many minutes."
)
@click.option(
    "--artefacts",
    type=click.Path(file_okay=False, path_type=Path),
    default=ARTEFACTS,
    show_default=True,
    help="The folder for failing runs.",
)
@click.option("--shrink/--no-shrink", default=True, help="Make failing runs small before they are kept.")
@click.option(
    "--coverage", is_flag=True, help="Print which fault struck in the midst of which protocol step."
)
@click.option("--planted", metavar="NAME", default="", help="Plant this bug first: see `check --list`.")
@pass_settings
def sim(
    settings: Settings,
    *,
    seeds: Seeds,
    jobs: int,
    minutes: float | None,
    artefacts: Path,
    shrink: bool,
    coverage: bool,
    planted: str,
) -> None:
    """Run seeds and judge each; exit code 1 if any fails. Ctrl-C ends it with what is known by then."""
    if planted:
        try:
            find(planted)
        except Unplantable as error:
            raise click.BadParameter(str(error), param_hint="--planted") from error
    campaign = Campaign(
        seeds.range,
        jobs=jobs,
        minutes=minutes,
        artefacts=artefacts,
        shrink=shrink,
        planted=lambda _: planted,
    )
    show = _Shown(seeds, planted=planted, as_json=settings.as_json)
    ended = run(campaign, show.tell)
    show.progress.clear()
    if settings.as_json:
        show_json({**results.plain(ended, jobs=jobs), "seeds_asked": str(seeds), "failures": show.failures})
    else:
        show_ended(ended, seeds, jobs=jobs, coverage=coverage)
    if ended.tally.failed:
        raise click.exceptions.Exit(EXIT_FAILED)


class _Shown:
    """What is printed while it runs."""

    def __init__(self, seeds: Seeds, *, planted: str, as_json: bool) -> None:
        self.progress = Progress()
        self.failures: list[dict[str, Any]] = []
        self._seeds = seeds
        self._planted = planted
        self._as_json = as_json

    def tell(self, outcome: Outcome, tally: Tally) -> None:
        """`vexil.chaos.campaign.campaign.Tell`."""
        if outcome.summary.failed:
            self.progress.clear()
            if len(self.failures) < FAILURES_SHOWN_MAX:
                self.failures.append(self._plain(outcome))
            if not self._as_json:
                say_at_once(self._line(outcome))
        of = "" if self._seeds.endless else f" of {len(self._seeds.range):,}"
        self.progress.write(f"{tally.seeds:,}{of} seeds, {tally.failed} failed; seed {outcome.summary.seed}")

    def _line(self, outcome: Outcome) -> str:
        parts = [
            f"seed {outcome.summary.seed}: {plain(outcome.summary.violation)}",
            f"repeat: {repeating(outcome, self._planted)}",
            *_kept(outcome.kept),
            *([plain(outcome.trouble.partition("\n")[0])] if outcome.trouble else ()),
        ]
        return " | ".join(parts)

    def _plain(self, outcome: Outcome) -> dict[str, Any]:
        kept = outcome.kept
        return {
            "seed": outcome.summary.seed,
            "invariant": outcome.summary.invariant,
            "violations": outcome.summary.violations,
            "repeat": repeating(outcome, self._planted),
            "artefact": kept.artefact if kept else None,
            "timelines": kept.timelines if kept else (),
            "remarks": kept.remarks if kept else (),
            "trouble": outcome.trouble,
        }


def repeating(outcome: Outcome, planted: str) -> str:
    """The command that runs it again."""
    if outcome.kept is not None:
        return f"vexil chaos replay {plain(outcome.kept.artefact)}"
    return f"vexil chaos sim --seeds {outcome.summary.seed}{' --planted ' if planted else ''}{planted}"


def _kept(kept: Kept | None) -> list[str]:
    if kept is None:
        return []
    timelines = [f"timeline: {plain(' '.join(kept.timelines))}"] if kept.timelines else []
    remarks = (plain(remark.partition("\n")[0]) for remark in kept.remarks)
    return [*timelines, *([kept.size] if kept.size else ()), *remarks]


def show_ended(ended: Ended, seeds: Seeds, *, jobs: int, coverage: bool) -> None:
    """Print the sums."""
    how = ", then interrupted" if ended.interrupted else ""
    say(f"seeds {seeds}{how}: {results.sentence(ended.tally)}")
    for section in results.sections(ended, jobs=jobs, coverage=coverage):
        say(f"\n{section}")
