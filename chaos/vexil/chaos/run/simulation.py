"""One run: build a cluster, let clients and nemesis loose on it, freeze the faults, wait, and judge.

`run_plan` is a function of its plan. First the safety phase: everything happens at once, and checkers look on. Then the
faults are frozen, and what must come true within a bound is waited for: ready, converged, tidy, quiet.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

import trio

from vexil.chaos.checkers.catalogue import all_checkers
from vexil.chaos.checkers.checker import Checkers, Verdict, Wait
from vexil.chaos.checkers.p09_convergence import CONVERGENCE_LIMIT_S
from vexil.chaos.clients import services, workload
from vexil.chaos.clients.operations import CONTESTED, ENVIRONMENTS, PAIR, PROJECT, flag_body
from vexil.chaos.run.chronicler import Chronicler
from vexil.chaos.run.history import History, Violation
from vexil.chaos.run.nemesis import Nemesis
from vexil.chaos.run.plan import Plan
from vexil.chaos.run.swarm import plan
from vexil.chaos.world.convergence import converged, engines, follows_nothing, vectors
from vexil.chaos.world.determinism import Streams, run_deterministically
from vexil.chaos.world.node_interface import make_key
from vexil.chaos.world.simulated_cluster import ClusterFaults, SimulatedCluster
from vexil.chaos.world.trace import Trace
from vexil.chaos.world.tripwires import tripwires
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import region_writer
from vexil.node.authoring import change_set, put_project
from vexil.node.engine_types import CLOCK_SKEW_LIMIT_MS
from vexil.node.gossip import messages, snapshots
from vexil.node.gossip.exchange import CALL_TIMEOUT_MS
from vexil.node.gossip.loops import PUSH_PAUSE_MS_MAX

SETUP_LIMIT_S: Final = 60.0
READY_LIMIT_S: Final = 120.0
"""From the heal until every node is ready and every client has its answer or has given up.

A retry of a change that its node has lost with an unsynced disk is told that it is unknown, again and again.
"""
SETTLE_S: Final = (CALL_TIMEOUT_MS + PUSH_PAUSE_MS_MAX) / 1000 + 0.5
"""A call that was lost just before the heal times out, and what was queued behind it is still pushed."""
IDLE_S: Final = 8.0
TIDY_S: Final = 12.0
"""Nothing is written for so long: every announcement has gone round, and what has ended has been retired."""
TIDY_LIMIT_S: Final = 120.0
"""Longer than two rounds of digests to every region."""
CHECKPOINTS: Final = 3
LOOK_S: Final = 0.1
"""Between two looks at the whole cluster, while something is waited for."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run."""

    plan: Plan
    history: History
    verdicts: dict[str, Verdict]
    """By invariant."""
    trace_hash: str
    trace: Sequence[str]
    virtual_s: float
    trace_left_out: int = 0
    """Events after those of ``trace``, if it was to be kept: there is a bound."""

    @property
    def violations(self) -> Sequence[Violation]:
        """What did not hold, in the order of noticing."""
        return self.history.violations

    @property
    def acknowledged(self) -> int:
        """Writes that a client was told of."""
        return sum(write.acknowledged_s is not None for write in self.history.writes)

    @property
    def not_fired(self) -> list[str]:
        """Kinds of faults that the plan has, of single ones and of the world's, and that never struck."""
        wanted = {fault.kind for fault in self.plan.faults} | self.plan.world.continuous
        return sorted(wanted - self.history.fired.keys())

    @property
    def verdict(self) -> Verdict:
        """Fail if anything is violated; unknown if nothing was written or an enabled fault never struck."""
        if self.violations:
            return Verdict.FAIL
        return Verdict.UNKNOWN if self.not_fired or not self.acknowledged else Verdict.PASS

    def __str__(self) -> str:
        found = "\n".join(map(str, self.violations)) or "nothing violated"
        return f"{self.plan}, {self.virtual_s:.0f} virtual s: {found}"


def simulate(seed: int, *, keep_trace: bool = False) -> Report:
    """Run the plan of ``seed``."""
    return run_plan(plan(seed), keep_trace=keep_trace)


def run_plan(chosen: Plan, *, keep_trace: bool = False) -> Report:
    """Run ``chosen``; stops at the first violation."""
    return run_deterministically(chosen.seed, _Simulation(chosen, keep_trace=keep_trace).run)


class _Simulation:
    def __init__(self, chosen: Plan, *, keep_trace: bool) -> None:
        self.plan = chosen
        self.streams = Streams(chosen.seed)
        self.trace = Trace(keep=keep_trace)
        self.history = History(trio.current_time)
        self.checkers = Checkers(all_checkers(self.history, chosen, self.streams))
        self.chronicler = Chronicler(self.history, self.checkers, self.trace)

    async def run(self) -> Report:
        with tripwires(), ExitStack() as knobs:
            self._turn(knobs)
            async with trio.open_nursery() as nursery:

                def end() -> None:
                    self.chronicler.over = True
                    nursery.cancel_scope.cancel()

                self.history.on_violation = end
                await self._run(nursery)
                end()
        return Report(
            self.plan,
            self.history,
            self.checkers.verdicts,
            self.trace.hexdigest(),
            self.trace.lines,
            trio.current_time(),
            self.trace.left_out,
        )

    def _turn(self, knobs: ExitStack) -> None:
        turned = self.plan.knobs
        if turned.page_bytes:
            knobs.enter_context(patch.object(messages, "PAGE_BYTES", turned.page_bytes))
        if turned.fold_batch_rows:
            knobs.enter_context(patch.object(region_writer, "FOLD_BATCH_CELLS", turned.fold_batch_rows))
        if turned.snapshot_page_bytes:
            knobs.enter_context(patch.object(snapshots, "PAGE_BYTES", turned.snapshot_page_bytes))
            knobs.enter_context(patch.object(messages, "PAGE_BYTES_MIN", turned.snapshot_page_bytes))

    async def _run(self, nursery: trio.Nursery) -> None:
        cluster = SimulatedCluster(
            self.streams,
            self.plan.layout,
            ClusterFaults(clocks=self.plan.world.clocks),
            nursery,
            self.chronicler,
            self.trace,
            embedded=self.plan.embedded,
            garbage_interval_ms=self.plan.knobs.garbage_interval_ms,
            fired=self.history.fired,
        )
        cluster.on_life = self.chronicler.life
        with trio.move_on_after(SETUP_LIMIT_S) as setup:
            await self._set_up(cluster)
        self.checkers.waited(cluster, Wait.SET_UP, in_time=not setup.cancelled_caught)
        cluster.founded = True
        self.history.began_s = trio.current_time()
        cluster.set_faults(self.plan.world)
        services.work(self.plan, cluster, self.history, self.checkers, nursery.start_soon)
        nemesis = Nemesis(cluster, self.history, self.plan, self.checkers)
        with trio.move_on_after(self.plan.work_s + READY_LIMIT_S) as busy:
            await self._work(cluster, nemesis)
        self.checkers.waited(cluster, Wait.READY, in_time=not busy.cancelled_caught)
        await self._converge(cluster)
        await self._be_tidy(cluster)
        await self._be_quiet(cluster)
        self.checkers.settled(cluster)

    async def _set_up(self, cluster: SimulatedCluster) -> None:
        slots = list(cluster.slots.values())
        await cluster.start(slots[0])
        async with trio.open_nursery() as nursery:
            for slot in slots[1:]:
                nursery.start_soon(cluster.start, slot)
        # A node whose clock is far off refuses writes, and rightly.
        engine = next(
            slot.engine for slot in slots if abs(slot.clock.faults.offset_ms) <= CLOCK_SKEW_LIMIT_MS
        )
        assert engine is not None
        await engine.write(
            SYSTEM_PROJECT,
            lambda view: put_project(view, PROJECT, {"environments": list(ENVIRONMENTS)}),
            author="setup",
        )
        for environment in dict.fromkeys(service.environment for service in self.plan.services):
            await make_key(engine, PROJECT, environment)
        flags = [{"op": "create", "flag": f, "value": flag_body("setup")} for f in (*PAIR, *CONTESTED)]
        await engine.write(
            PROJECT,
            lambda view: change_set(view, {"operations": flags}, new_id=lambda: "r").intent,
            author="setup",
        )
        while not converged(cluster) or any(  # noqa: ASYNC110 - looks at a whole cluster from outside
            PROJECT not in engine.projects for _, engine in engines(cluster)
        ):
            await trio.sleep(0.1)

    async def _work(self, cluster: SimulatedCluster, nemesis: Nemesis) -> None:
        until_s = trio.current_time() + self.plan.work_s
        async with trio.open_nursery() as clients:
            async with trio.open_nursery() as trouble:
                trouble.start_soon(nemesis.run)
                await workload.work(self.plan, cluster, self.history, self.checkers, clients.start_soon)
                for number in range(1, CHECKPOINTS + 1):
                    await trio.sleep_until(until_s - self.plan.work_s * (1 - number / CHECKPOINTS))
                    self.checkers.checkpoint(cluster)
                trouble.cancel_scope.cancel()
            cluster.set_faults(ClusterFaults())
            await nemesis.freeze()
            self.history.frozen_s = trio.current_time()
        self.history.answered_s = trio.current_time()

    async def _converge(self, cluster: SimulatedCluster) -> None:
        with trio.move_on_after(CONVERGENCE_LIMIT_S) as limit:
            while not converged(cluster, without=self.history.forked):  # noqa: ASYNC110 - as above
                await trio.sleep(LOOK_S)
            self.history.converged_s = trio.current_time()
        self.checkers.waited(cluster, Wait.CONVERGED, in_time=not limit.cancelled_caught)

    async def _be_tidy(self, cluster: SimulatedCluster) -> None:
        """Return when the nodes have nothing of their own to write any more, such as ends of incarnations.

        And when what has come as a whole has its history, which a node asks for ever more rarely.
        """
        with trio.move_on_after(TIDY_LIMIT_S) as limit:
            unchanged_s = trio.current_time()
            before: object = None
            while trio.current_time() - unchanged_s < TIDY_S:
                now = [vectors(engine) for _, engine in engines(cluster)]
                if now != before or not all(follows_nothing(engine) for _, engine in engines(cluster)):
                    before, unchanged_s = now, trio.current_time()
                await trio.sleep(LOOK_S)
        self.checkers.waited(cluster, Wait.TIDY, in_time=not limit.cancelled_caught)

    async def _be_quiet(self, cluster: SimulatedCluster) -> None:
        await trio.sleep(SETTLE_S)
        self.checkers.waited(cluster, Wait.CALM, in_time=True)
        await trio.sleep(IDLE_S)
