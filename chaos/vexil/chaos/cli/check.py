"""``vexil chaos check``: the harness on trial: does it notice what is broken, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from vexil.chaos.campaign import mutation_gate
from vexil.chaos.cli import benign_trial, planted_trial
from vexil.chaos.cli.sim import ARTEFACTS, JOBS_OPTION
from vexil.chaos.planted.catalogue import BENIGN, ELSEWHERE, LATER, PLANTED, SWITCHES
from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.planted.planting import Mutant, Unplantable, expected, find, what_it_does
from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.cli.errors import EXIT_FAILED
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import say, show_json, table
from vexil.node.cli.settings import Settings

SEEDS_MAX = 100_000


@click.command("check", cls=Command)
@click.option("--planted", is_flag=True, help="Every planted bug and every rule switched off must be caught.")
@click.option("--benign", is_flag=True, help="Refactors that change nothing must raise nothing.")
@click.option("--list", "listed", is_flag=True, help="Only say what there is, and what is missing and why.")
@click.option("--only", metavar="NAME", multiple=True, help="Only this one; may be given more than once.")
@click.option(
    "--seeds",
    type=click.IntRange(1, SEEDS_MAX),
    help=f"Of each bug, instead of {mutation_gate.SEEDS}; of all refactors together, instead of "
    f"{benign_trial.SEEDS:,}.",
)
@JOBS_OPTION
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=mutation_gate.MINUTES,
    show_default=True,
    help="Ends by then; what was not tried is said, and is a failure.",
)
@click.option(
    "--histories",
    metavar="MODULE",
    help="Where histories are that were written for single bugs.  "
    f"[default: {planted_trial.HISTORIES}, in its source tree]",
)
@click.option(
    "--artefacts",
    type=click.Path(file_okay=False, path_type=Path),
    default=ARTEFACTS,
    show_default=True,
    help="The folder for runs that fail under a benign refactor.",
)
@pass_settings
def check(
    settings: Settings,
    *,
    planted: bool,
    benign: bool,
    listed: bool,
    only: tuple[str, ...],
    seeds: int | None,
    jobs: int,
    minutes: float,
    histories: str | None,
    artefacts: Path,
) -> None:
    """Plant bugs and refactors, and see that the first are caught and the others are not. Exit 1 if not so.

    A bug that no seed catches is caught, too, if a history does that was written for it; it is counted apart.
    """
    if not (planted or benign or listed):
        raise click.UsageError("check what? Give --planted, --benign or --list.")
    chosen = _chosen(only)
    quiet = settings.as_json
    documents: dict[str, Any] = {}
    suspects: tuple[PlantedBug | SwitchedOff, ...] = (*PLANTED, *SWITCHES)
    wanted = [mutant for mutant in suspects if not only or str(mutant) in chosen]
    names = [str(refactor) for refactor in BENIGN if not only or str(refactor) in chosen]
    for option, given, found_there in (("--planted", planted, wanted), ("--benign", benign, names)):
        if given and not found_there:
            # Nothing would be tried, and that nothing failed would look like success.
            raise click.UsageError(f"--only leaves nothing for {option}: {', '.join(sorted(chosen))}")
    sound = True
    if listed:
        documents["missing"] = {str(what): why for what, why in (*LATER.items(), *ELSEWHERE.items())}
        documents["present"] = [_row(mutant) for mutant in (*suspects, *BENIGN)]
        if not quiet:
            _show(documents)
    if planted:
        found = planted_trial.run(
            wanted,
            seeds=seeds,
            jobs=jobs,
            minutes=minutes,
            histories=histories,
            quiet=quiet,
        )
        documents["planted"], sound = found.document, found.sound
    if benign:
        found = benign_trial.run(
            names, seeds=seeds, jobs=jobs, minutes=minutes, artefacts=artefacts, quiet=quiet
        )
        documents["benign"], sound = found.document, sound and found.sound
    if quiet:
        show_json(documents)
    if not sound:
        raise click.exceptions.Exit(EXIT_FAILED)


def _chosen(only: Sequence[str]) -> set[str]:
    for name in only:
        try:
            find(name)
        except Unplantable as error:
            raise click.BadParameter(str(error), param_hint="--only") from error
    return set(only)


def _row(mutant: Mutant) -> dict[str, Any]:
    return {
        "name": str(mutant),
        "kind": type(mutant).__name__,
        "expected": sorted(expected(mutant)),
        "what": what_it_does(mutant),
    }


def _show(documents: dict[str, Any]) -> None:
    kinds = {"PlantedBug": "bug", "SwitchedOff": "rule", "Benign": "benign"}
    rows = [
        [kinds[row["kind"]], row["name"], " ".join(row["expected"]), row["what"]]
        for row in documents["present"]
    ]
    say(table(["kind", "name", "expected", "what it does"], rows))
    say(f"\n{planted_trial.missing()}")
