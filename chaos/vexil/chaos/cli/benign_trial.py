"""Refactors that change nothing, each over its share of the seeds: a checker that raises there judges too much.

It is a campaign (`vexil.chaos.campaign.campaign`) in which the seed says which refactor is planted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from vexil.chaos.campaign import campaign
from vexil.chaos.campaign.campaign import Campaign, Outcome
from vexil.chaos.campaign.summary import Tally
from vexil.chaos.cli.planted_trial import Found
from vexil.chaos.cli.progress import Progress
from vexil.chaos.cli.sim import repeating
from vexil.node.cli.output import plain, say, table
from vexil.node.dev.terminal import say as say_at_once

SEEDS: Final = 1_000


def run(
    names: Sequence[str], *, seeds: int | None, jobs: int, minutes: float, artefacts: Path, quiet: bool
) -> Found:
    """Run them all, and print what comes of it unless ``quiet``."""
    count = (seeds or SEEDS) if names else 0
    seen = _Seen(names, quiet=quiet)
    ended = campaign.run(
        Campaign(
            range(count),
            jobs=jobs,
            minutes=minutes,
            artefacts=artefacts,
            planted=lambda seed: names[seed % len(names)],
        ),
        seen.tell,
    )
    seen.progress.clear()
    complete = ended.tally.seeds == count
    if not quiet:
        seen.show(ended.wall_s, complete=complete)
    document = {**seen.plain(), "complete": complete, "wall_s": ended.wall_s}
    return Found(complete and not ended.tally.failed, document)


class _Seen:
    """How many seeds each refactor has had, and what failed."""

    def __init__(self, names: Sequence[str], *, quiet: bool) -> None:
        self.progress = Progress()
        self._names = names
        self._quiet = quiet
        self._seeds: Counter[str] = Counter()
        self._failures: list[dict[str, Any]] = []

    def tell(self, outcome: Outcome, tally: Tally) -> None:
        """`vexil.chaos.campaign.campaign.Tell`."""
        seed = outcome.summary.seed
        name = self._names[seed % len(self._names)]
        self._seeds[name] += 1
        if outcome.summary.failed:
            violation = plain(outcome.summary.violation)
            again = repeating(outcome, name)
            self._failures.append({"name": name, "seed": seed, "violation": violation, "repeat": again})
            self.progress.clear()
            if not self._quiet:
                say_at_once(f"{name}: seed {seed}: {violation} | repeat: {again}")
        self.progress.write(f"{tally.seeds:,} seeds, {tally.failed} failed")

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {"seeds": {name: self._seeds[name] for name in self._names}, "failures": self._failures}

    def show(self, wall_s: float, *, complete: bool) -> None:
        """For people."""
        failed = Counter(failure["name"] for failure in self._failures)
        rows = [[name, self._seeds[name], failed[name]] for name in self._names]
        say(f"\n{table(['benign', 'seeds', 'failed'], rows)}")
        how = "" if complete else ", and not all that were asked for"
        say(
            f"\n{len(self._names)} refactors, {self._seeds.total():,} seeds{how}, {failed.total()} failed; "
            f"{wall_s:.0f} s of wall time"
        )
