"""The harness itself on trial: every planted bug and every rule switched off must be caught; no benign refactor may be.

The one idea: a catch is a run that fails with the bug and passes without it. So a flaw of the code or of the harness is
never taken for a catch; neither is a bug that cannot be planted any more, or a run that does not end: they are said.

All mutants are tried on a few seeds before any is tried on more: what is caught easily is caught early, and what time
does not suffice for is known by name. The order of seeds is the same rule for all: of ``range(seeds)``, first those
whose plan has a profile that the mutant names, then the others. What no seed catches is tried with the history that
was written for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from heapq import heapify, heappop, heappush
from statistics import median
from typing import Final

import trio

from vexil.chaos.campaign.stopping import until_stopped
from vexil.chaos.campaign.summary import Summary
from vexil.chaos.campaign.worker_pool import Lost, WorkerPool

SEEDS: Final = 200
MINUTES: Final = 40.0
HISTORIES_S: Final = 120.0
"""Of that time, what is left for histories at the end; no more than a tenth of it."""
ROUNDS: Final = (5, 20, 60, 120)
"""Seeds that all mutants have been tried on before any is tried on more."""
SEED_WALL_S: Final = 90.0
HISTORY_WALL_S: Final = 120.0
LOST_MAX: Final = 2
"""Runs of a mutant that do not end, or raise, before it is given up."""


class State(Enum):
    """What became of a mutant."""

    BY_SEED = "caught"
    BY_HISTORY = "caught by its history only"
    MISSED = "NOT CAUGHT"
    BROKEN = "BROKEN"
    """It could not be planted, or its runs do not end, or its history fails without it."""
    NOT_TRIED = "NOT TRIED"
    """Time was up before all seeds had been tried."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A mutant on trial."""

    name: str
    invariants: frozenset[str] = frozenset()
    """Which are expected to notice it; empty: any."""
    profiles: frozenset[str] = frozenset()
    """Of plans that its seeds begin with."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of it."""

    subject: Subject
    state: State
    by: str = ""
    """The invariant that did not hold."""
    seed: int | None = None
    tried: int = 0
    """Seeds, with the last."""
    wall_s: float = 0.0
    """Of its runs alone."""
    cut_short: bool = False
    """Time was up before all seeds were tried."""
    detail: str = ""

    @property
    def expected(self) -> bool:
        """Whether it was noticed by what should notice it."""
        return not self.subject.invariants or self.by in self.subject.invariants


@dataclass(frozen=True, slots=True)
class Tasks:
    """What processes are asked for, as ``module:function``."""

    run: str = "vexil.chaos.campaign.tasks:run_seed"
    """seed, planted → Summary"""
    history: str = "vexil.chaos.campaign.tasks:tell_history"
    """module, name, planted → one text: what did not hold, "" if all did; no text if there is no such history"""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try."""

    subjects: Sequence[Subject]
    seeds: int = SEEDS
    jobs: int = 1
    minutes: float = MINUTES
    profile_of: Callable[[int], str] = lambda _: ""
    """Of the plan of a seed."""
    histories: str = ""
    """The module that has them."""
    path: Sequence[str] = ()
    """Where modules are looked for too."""
    tasks: Tasks = field(default_factory=Tasks)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of it."""

    findings: Sequence[Finding]
    """In the order of the subjects."""
    unsound: dict[int, str]
    """Seeds that fail without any mutant, and what they violate: no catch on one of them counts."""
    wall_s: float
    interrupted: bool = False

    @property
    def passed(self) -> bool:
        """Everything was caught, by a seed or by its history alone, and nothing else was found."""
        caught = all(finding.state in {State.BY_SEED, State.BY_HISTORY} for finding in self.findings)
        return caught and not self.unsound

    @property
    def caught_by_seeds(self) -> int:
        """How many seeds alone have caught."""
        return sum(finding.state is State.BY_SEED for finding in self.findings)

    @property
    def median_seeds(self) -> float | None:
        """To the catch, of those that seeds have caught."""
        tried = [finding.tried for finding in self.findings if finding.state is State.BY_SEED]
        return median(tried) if tried else None


Tell = Callable[[Finding], None]
"""Is called as soon as something is known for good."""


def order_of(subject: Subject, trial: Trial) -> list[int]:
    """All seeds of the trial, those first whose profile the subject names."""
    seeds = range(trial.seeds)
    if not subject.profiles:
        return list(seeds)
    return sorted(seeds, key=lambda seed: trial.profile_of(seed) not in subject.profiles)


def run(trial: Trial, tell: Tell) -> Judgement:
    """Try every subject; ends when time is up, at the latest. On Ctrl-C or SIGTERM, what is known by then."""
    return trio.run(run_async, trial, tell)


async def run_async(trial: Trial, tell: Tell) -> Judgement:
    """`run` in a trio program."""
    began_s = trio.current_time()
    gate = _Gate(trial, tell)
    ended = await until_stopped(gate.run)
    gate.close()
    findings = [gate.closed[subject.name] for subject in trial.subjects]
    return Judgement(findings, gate.unsound, trio.current_time() - began_s, interrupted=not ended)


class _Gate:
    def __init__(self, trial: Trial, tell: Tell) -> None:
        self._open = {subject.name: Finding(subject, State.NOT_TRIED) for subject in trial.subjects}
        self.closed: dict[str, Finding] = {}
        self.unsound: dict[int, str] = {}
        self._trial = trial
        self._tell = tell
        self._orders = {subject.name: order_of(subject, trial) for subject in trial.subjects}
        self._clean: dict[int, trio.Event | bool] = {}
        self._lost: dict[str, int] = {}
        rounds = [seeds for seeds in ROUNDS if seeds < trial.seeds]
        self._rounds = [*rounds, trial.seeds]
        self._queue = [(0, place, subject.name) for place, subject in enumerate(trial.subjects)]
        heapify(self._queue)
        self._busy = 0
        self._changed = trio.Condition()

    async def run(self) -> None:
        limit_s = 60 * self._trial.minutes
        until_s = trio.current_time() + limit_s
        async with WorkerPool(self._trial.jobs, path=self._trial.path) as pool:
            with trio.move_on_at(until_s - min(HISTORIES_S, limit_s / 10)):
                async with trio.open_nursery() as nursery:
                    for _ in range(self._trial.jobs):
                        nursery.start_soon(self._work, pool)
            with trio.move_on_at(until_s):
                async with trio.open_nursery() as nursery:
                    for finding in list(self._open.values()):
                        nursery.start_soon(self._tell_history, pool, finding)

    def close(self) -> None:
        """It is over: what is open stays as it is."""
        for finding in list(self._open.values()):
            self._close(replace(finding, cut_short=True))

    async def _work(self, pool: WorkerPool) -> None:
        """Take what has been tried least, and try it on the seeds of its next round; until nothing is left."""
        while True:
            async with self._changed:
                while not self._queue and self._busy:
                    await self._changed.wait()
                if not self._queue:
                    return
                turn, place, name = heappop(self._queue)
                self._busy += 1
            await self._round(pool, name, self._rounds[turn])
            async with self._changed:
                self._busy -= 1
                if name in self._open and turn + 1 < len(self._rounds):
                    heappush(self._queue, (turn + 1, place, name))
                self._changed.notify_all()
            if name in self._open and turn + 1 == len(self._rounds):
                await self._tell_history(pool, self._open[name])

    async def _round(self, pool: WorkerPool, name: str, until: int) -> None:
        while name in self._open and self._open[name].tried < until:
            finding = self._open[name]
            seed = self._orders[name][finding.tried]
            began_s = trio.current_time()
            try:
                summary = await self._run(pool, seed, name)
            except Lost as error:
                finding = self._spent(finding, began_s)
                self._lost[name] = self._lost.get(name, 0) + 1
                if self._lost[name] >= LOST_MAX:
                    self._close(replace(finding, state=State.BROKEN, seed=seed, detail=str(error)))
                continue
            finding = self._spent(finding, began_s)
            if summary.failed and await self._is_clean(pool, seed):
                caught = replace(finding, state=State.BY_SEED, by=summary.invariant, seed=seed)
                self._close(replace(caught, detail=summary.violation))

    def _spent(self, finding: Finding, began_s: float) -> Finding:
        spent = replace(
            finding, tried=finding.tried + 1, wall_s=finding.wall_s + trio.current_time() - began_s
        )
        self._open[finding.subject.name] = spent
        return spent

    async def _run(self, pool: WorkerPool, seed: int, planted: str) -> Summary:
        what = {"seed": seed, "planted": planted}
        return await pool.call(self._trial.tasks.run, what, limit_s=SEED_WALL_S, kind=Summary)

    async def _is_clean(self, pool: WorkerPool, seed: int) -> bool:
        """Whether the seed passes without any mutant; each is run once."""
        known = self._clean.get(seed)
        if isinstance(known, trio.Event):
            await known.wait()
            known = self._clean[seed]
        if isinstance(known, bool):
            return known
        done = self._clean[seed] = trio.Event()
        try:
            summary = await self._run(pool, seed, "")
            found = summary.violation if summary.failed else ""
        except Lost as error:
            found = str(error).partition("\n")[0]
        if found:
            self.unsound[seed] = found
        self._clean[seed] = not found
        done.set()
        return not found

    async def _tell_history(self, pool: WorkerPool, finding: Finding) -> None:
        """Try it with the history that was written for it, if there is one."""
        subject = finding.subject
        finding = replace(finding, cut_short=finding.tried < self._trial.seeds)
        missed = State.NOT_TRIED if finding.cut_short else State.MISSED
        try:
            held = await self._history(pool, subject.name, "")
            if held is None:
                self._close(replace(finding, state=missed))
            elif held:
                self._close(
                    replace(finding, state=State.BROKEN, detail=f"its history fails without it: {held}")
                )
            elif broken := await self._history(pool, subject.name, subject.name):
                self._close(replace(finding, state=State.BY_HISTORY, detail=broken))
            else:
                self._close(replace(finding, state=missed, detail="not by its history either"))
        except Lost as error:
            self._close(replace(finding, state=State.BROKEN, detail=str(error)))

    async def _history(self, pool: WorkerPool, name: str, planted: str) -> str | None:
        if not self._trial.histories:
            return None
        what = {"module": self._trial.histories, "name": name, "planted": planted}
        found = await pool.call(self._trial.tasks.history, what, limit_s=HISTORY_WALL_S, kind=list[str])
        return found[0] if found else None

    def _close(self, finding: Finding) -> None:
        self.closed[finding.subject.name] = finding
        del self._open[finding.subject.name]
        self._tell(finding)
