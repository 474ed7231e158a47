"""Many seeds over several processes: run, judged, and told in the order of the seeds, whatever becomes of a process.

The one idea: every seed that was begun has an outcome. A run that hangs or takes its process with it is a failed one
with its number; a sample of the others is run once more, in a fresh process that hashes differently, and must write
the same trace (P16). Nothing is kept but sums and what is not told yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import trio

from vexil.chaos.campaign.stopping import until_stopped
from vexil.chaos.campaign.summary import NOT_ENDED, REPEATABLE, Kept, Summary, Tally, lost
from vexil.chaos.campaign.worker_pool import Lost, WorkerPool
from vexil.chaos.checkers.checker import Verdict
from vexil.chaos.checkers.p16_same_trace import Told, difference

SEED_WALL_S: Final = 180.0
"""A run takes about a second; one that takes so long hangs."""
SHRINK_WALL_S: Final = 900.0
"""To make a failing run smaller."""
SHRUNK_MAX: Final = 20
"""Failing runs that are made smaller; later ones are kept as they are. When so many fail, a few small ones will do."""
KEPT_MAX: Final = 200
"""Failing runs that are kept at all."""
WINDOW: Final = 1_000
"""Seeds that may be ahead of the first that is not done: what is kept until its turn."""
RESAMPLED_ONE_IN: Final = 50
"""One of so many seeds is run again elsewhere."""
OTHER_HASH_SEED: Final = "4242"


@dataclass(frozen=True, slots=True)
class Tasks:
    """What processes are asked for, as ``module:function``."""

    run: str = "vexil.chaos.campaign.tasks:run_seed"
    """seed, planted → Summary"""
    trace: str = "vexil.chaos.campaign.tasks:trace_of"
    """seed, planted → the hash of its trace"""
    keep: str = "vexil.chaos.campaign.tasks:keep"
    """seed, planted, folder, judged → Kept"""
    shrink: str = "vexil.chaos.campaign.tasks:make_smaller"
    """path of an artefact → Kept"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is told of a seed."""

    summary: Summary
    kept: Kept | None = None
    trouble: str = ""
    """Why a failing run is not on disk, or is not smaller."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What to run."""

    seeds: Iterable[int]
    """Ascending; may be endless."""
    jobs: int = 1
    minutes: float | None = None
    """No seed is begun after that."""
    artefacts: Path | None = None
    """Where failing runs are kept; made when there is one. None: they are not kept."""
    shrink: bool = True
    planted: Callable[[int], str] = lambda _: ""
    """Under which bug a seed runs, by its name; "": none."""
    tasks: Tasks = field(default_factory=Tasks)
    resampled_one_in: int = RESAMPLED_ONE_IN
    seed_wall_s: float = SEED_WALL_S
    window: int = WINDOW


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of it."""

    tally: Tally
    wall_s: float
    interrupted: bool = False

    @property
    def seeds_per_minute(self) -> float:
        """Runs that were told, by wall time."""
        return 60 * self.tally.seeds / self.wall_s if self.wall_s else 0.0

    @property
    def simulated_s_per_s(self) -> float:
        """Virtual seconds that passed in a second of wall time."""
        return self.tally.virtual_s / self.wall_s if self.wall_s else 0.0


Tell = Callable[[Outcome, Tally], None]
"""Is called for each seed in order, with the sums that include it."""


def run(campaign: Campaign, tell: Tell) -> Ended:
    """Run all of it; on Ctrl-C or SIGTERM, what is known by then. Main thread only: it listens for signals."""
    return trio.run(run_async, campaign, tell)


async def run_async(campaign: Campaign, tell: Tell) -> Ended:
    """`run` in a trio program."""
    running = _Running(campaign, tell)
    began_s = trio.current_time()
    ended = await until_stopped(running.run)
    running.tell_ready(all_of_them=True)
    return Ended(running.tally, trio.current_time() - began_s, interrupted=not ended)


@dataclass(slots=True)
class _Begun:
    """A seed that was begun."""

    outcome: Outcome | None = None
    """As far as it is known."""
    done: bool = False


class _Running:
    def __init__(self, campaign: Campaign, tell: Tell) -> None:
        self.tally = Tally()
        self._campaign = campaign
        self._tell = tell
        self._seeds: Iterator[int] = iter(campaign.seeds)
        self._begun: dict[int, _Begun] = {}
        """By seed, in order: what is not told yet."""
        self._told = trio.Condition()
        self._kept = 0

    async def run(self) -> None:
        deadline_s = trio.current_time() + 60 * (self._campaign.minutes or float("inf"))
        async with WorkerPool(self._campaign.jobs) as pool, trio.open_nursery() as nursery:
            for _ in range(self._campaign.jobs):
                nursery.start_soon(self._work, pool, deadline_s)

    async def _work(self, pool: WorkerPool, deadline_s: float) -> None:
        while trio.current_time() < deadline_s:
            async with self._told:
                while len(self._begun) >= self._campaign.window:
                    await self._told.wait()
            seed = next(self._seeds, None)
            if seed is None:
                return
            begun = self._begun[seed] = _Begun()
            await self._run(pool, seed, begun)
            begun.done = True
            self.tell_ready()
            async with self._told:
                self._told.notify_all()

    def tell_ready(self, *, all_of_them: bool = False) -> None:
        """Tell of every seed that is done and before which all are; or, at the end, of all that is known."""
        for seed, begun in list(self._begun.items()):
            if not begun.done and not all_of_them:
                return
            del self._begun[seed]
            if begun.outcome is not None:
                self.tally.add(begun.outcome.summary)
                self._tell(begun.outcome, self.tally)

    async def _run(self, pool: WorkerPool, seed: int, begun: _Begun) -> None:
        campaign = self._campaign
        what = {"seed": seed, "planted": campaign.planted(seed)}
        try:
            summary = await pool.call(campaign.tasks.run, what, limit_s=campaign.seed_wall_s, kind=Summary)
        except Lost as error:
            summary = lost(seed, str(error))
        if seed % campaign.resampled_one_in == 0 and summary.invariant != NOT_ENDED:
            summary = await self._resampled(pool, what, summary)
        else:
            summary = replace(summary, verdicts={**summary.verdicts, REPEATABLE: Verdict.UNKNOWN.value})
        # That it has failed is known from here on, however long it takes to make it smaller.
        begun.outcome = Outcome(summary)
        if summary.failed and campaign.artefacts is not None:
            await self._keep(pool, campaign.artefacts, what, begun)

    async def _resampled(self, pool: WorkerPool, what: dict[str, object], summary: Summary) -> Summary:
        try:
            trace_hash = await pool.call(
                self._campaign.tasks.trace,
                what,
                limit_s=self._campaign.seed_wall_s,
                kind=str,
                hash_seed=OTHER_HASH_SEED,
            )
        except Lost as error:
            return lost(summary.seed, f"in a process that hashes differently: {error}")
        parted = difference(Told(summary.trace_hash), Told(trace_hash))
        verdicts = {**summary.verdicts, REPEATABLE: (Verdict.FAIL if parted else Verdict.PASS).value}
        if parted is None:
            return replace(summary, verdicts=verdicts)
        violation = f"{parted}, the latter in a process with PYTHONHASHSEED={OTHER_HASH_SEED}"
        return replace(
            summary,
            verdict=Verdict.FAIL.value,
            verdicts=verdicts,
            invariant=summary.invariant or REPEATABLE,
            violations=(*summary.violations, violation),
        )

    async def _keep(self, pool: WorkerPool, folder: Path, what: dict[str, object], begun: _Begun) -> None:
        assert begun.outcome is not None
        campaign, summary = self._campaign, begun.outcome.summary
        self._kept += 1
        if self._kept > KEPT_MAX:
            begun.outcome = Outcome(summary, trouble=f"not kept: {KEPT_MAX} failing runs are kept already")
            return
        shrink = campaign.shrink and self._kept <= SHRUNK_MAX
        judged = summary.invariant != NOT_ENDED
        where = {**what, "folder": str(folder), "judged": judged}
        try:
            kept = await pool.call(campaign.tasks.keep, where, limit_s=campaign.seed_wall_s, kind=Kept)
        except Lost as error:
            begun.outcome = Outcome(summary, trouble=f"not kept: {error}")
            return
        begun.outcome = Outcome(summary, kept)
        # A run that only writes another trace violates nothing when it is run by itself.
        if not shrink or not judged or summary.invariant == REPEATABLE:
            return
        try:
            smaller = {"path": kept.artefact}
            kept = await pool.call(campaign.tasks.shrink, smaller, limit_s=SHRINK_WALL_S, kind=Kept)
            begun.outcome = Outcome(summary, kept)
        except Lost as error:
            begun.outcome = Outcome(summary, kept, trouble=f"not made smaller: {error}")
