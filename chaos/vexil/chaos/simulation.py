"""One run: build a cluster, let administrators and nemesis loose on it, heal it, and judge.

``simulate`` is a pure function of its plan. A test may bring further judges (`Judge`): they are called while the
cluster runs and when it has converged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

import trio

from vexil.chaos import final_checks
from vexil.chaos.determinism import Streams, run_deterministically
from vexil.chaos.junk import undecodable_change, unreadable_change
from vexil.chaos.live_checks import LiveChecks
from vexil.chaos.nemesis import Nemesis
from vexil.chaos.record import Record, Violation
from vexil.chaos.simulated_cluster import ClusterFaults, SimulatedCluster, Slot
from vexil.chaos.swarm import Plan, plan
from vexil.chaos.trace import Trace
from vexil.chaos.tripwires import tripwires
from vexil.chaos.workload import (
    CONTESTED,
    ENVIRONMENTS,
    PAIR,
    PROJECT,
    Administrator,
    WorkloadSettings,
    flag_body,
)
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.authoring import change_set, put_project
from vexil.node.engine import Engine
from vexil.node.engine_types import CLOCK_SKEW_LIMIT_MS
from vexil.node.gossip import messages
from vexil.node.gossip.exchange import CALL_TIMEOUT_MS
from vexil.node.gossip.loops import PUSH_PAUSE_MS_MAX, GossipSettings
from vexil.node.seams import PeerIdentity, PeerRefused

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
GOSSIP: Final = GossipSettings()
CONVERGENCE_LIMIT_S: Final = (2 * GOSSIP.interval_remote_ms + 2 * GOSSIP.interval_region_ms) / 1000 + 0.5
"""P9: two rounds of digests between regions, two within one, and what messages take on the way."""
CHECKPOINTS: Final = 3


class Judge(Protocol):
    """Somebody who judges nodes by another theory than the product's."""

    def node(self, slot: Slot, engine: Engine, record: Record) -> None:
        """Look at a node, at any moment; what is wrong goes to ``record.violate``."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run."""

    plan: Plan
    violations: Sequence[Violation]
    trace_hash: str
    trace: Sequence[str]
    changes: int
    acknowledged: int
    virtual_s: float
    convergence_s: float | None
    """From the moment in which everything worked again."""

    def __str__(self) -> str:
        found = "\n".join(map(str, self.violations)) or "nothing violated"
        return f"{self.plan}, {self.changes} changes, {self.virtual_s:.0f} virtual s: {found}"


def simulate(seed: int, *, judges: Iterable[Judge] = (), keep_trace: bool = False) -> Report:
    """Run the plan of ``seed``."""
    return run_plan(plan(seed, Streams(seed).stream("plan")), judges=judges, keep_trace=keep_trace)


def run_plan(chosen: Plan, *, judges: Iterable[Judge] = (), keep_trace: bool = False) -> Report:
    """Run ``chosen``; stops at the first violation."""
    return run_deterministically(chosen.seed, _Simulation(chosen, tuple(judges), keep_trace=keep_trace).run)


class _Simulation:
    def __init__(self, chosen: Plan, judges: Sequence[Judge], *, keep_trace: bool) -> None:
        self.plan = chosen
        self.judges = judges
        self.streams = Streams(chosen.seed)
        self.trace = Trace(keep=keep_trace)
        self.record = Record(trio.current_time)
        self.live = LiveChecks(
            self.record,
            self.trace,
            self.streams.stream("checks"),
            pairs=(PAIR,),
            expected_alarms={"aside"} if chosen.junk else (),
        )
        self.convergence_s: float | None = None

    async def run(self) -> Report:
        with tripwires():
            async with trio.open_nursery() as nursery:
                self.record.on_violation = nursery.cancel_scope.cancel
                await self._run(nursery)
                nursery.cancel_scope.cancel()
        return Report(
            self.plan,
            self.record.violations,
            self.trace.hexdigest(),
            self.trace.lines,
            sum(map(len, self.record.changes.values())),
            sum(write.dot is not None for write in self.record.writes),
            trio.current_time(),
            self.convergence_s,
        )

    async def _run(self, nursery: trio.Nursery) -> None:
        calm = ClusterFaults(clocks=self.plan.faults.clocks)
        cluster = SimulatedCluster(self.streams, self.plan.layout, calm, nursery, self.live, self.trace)
        with trio.move_on_after(SETUP_LIMIT_S) as setup:
            await self._set_up(cluster)
        if setup.cancelled_caught:
            self.record.violate("P9", "the cluster was not set up in time")
        cluster.set_faults(self.plan.faults)
        nemesis = Nemesis(cluster, self.streams.stream("nemesis"), self.plan.nemesis)
        with trio.move_on_after(self.plan.work_s + READY_LIMIT_S) as busy:
            await self._work(cluster, nemesis)
        if busy.cancelled_caught:
            self.record.violate(
                "P9", "after the heal, not every node was ready or not every client had its answer"
            )
        await self._converge(cluster)
        await self._be_tidy(cluster)
        await self._be_quiet(cluster)
        self._judge_all(cluster)
        final_checks.check_all(cluster, self.record, self.live)

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
        flags = [{"op": "create", "flag": f, "value": flag_body("setup")} for f in (*PAIR, *CONTESTED)]
        await engine.write(
            PROJECT,
            lambda view: change_set(view, {"operations": flags}, new_id=lambda: "r").intent,
            author="setup",
        )
        while not final_checks.converged(cluster) or any(  # noqa: ASYNC110 - looks at a whole cluster from outside
            PROJECT not in engine.projects for _, engine in final_checks.engines(cluster)
        ):
            await trio.sleep(0.1)

    async def _work(self, cluster: SimulatedCluster, nemesis: Nemesis) -> None:
        until_s = trio.current_time() + self.plan.work_s
        async with trio.open_nursery() as clients:
            async with trio.open_nursery() as trouble:
                trouble.start_soon(nemesis.run)
                self._hire(cluster, clients, until_s)
                if self.plan.junk:
                    trouble.start_soon(self._send_junk, cluster, self.streams.stream("junk"))
                for number in range(1, CHECKPOINTS + 1):
                    await trio.sleep_until(until_s - self.plan.work_s * (1 - number / CHECKPOINTS))
                    self._judge_all(cluster)
                    if number == 1 and self.plan.latecomer:
                        cluster.launch(cluster.add_slot("eu-9", "eu"))
                trouble.cancel_scope.cancel()
            cluster.set_faults(ClusterFaults())
            await nemesis.heal()

    def _hire(self, cluster: SimulatedCluster, nursery: trio.Nursery, until_s: float) -> None:
        settings: WorkloadSettings = self.plan.workload
        for region in self.plan.layout:
            for number in range(settings.admins_per_region):
                name = f"{region}-admin-{number}"
                rng = self.streams.stream("admin", name)
                admin = Administrator(name, region, cluster, self.record, rng, settings)
                nursery.start_soon(admin.work, until_s)

    async def _send_junk(self, cluster: SimulatedCluster, rng: Random) -> None:
        for flag in CONTESTED:
            await trio.sleep(rng.uniform(0.5, 4))
            live = cluster.live()
            if not live:
                continue
            slot = rng.choice(live)
            engine = slot.engine
            assert engine is not None
            raws = [
                undecodable_change(rng),
                unreadable_change(engine.projects[PROJECT].replica, flag, rng).raw,
            ]
            sender = PeerIdentity(
                *rng.choice([(s.name, s.region) for s in cluster.slots.values() if s is not slot])
            )
            member = engine.directory.members.get(sender.node)
            registration = "" if member is None else member.registration
            body = messages.encode({"changes": {PROJECT: raws}, "as": registration})
            try:
                await engine.peer_service.serve(sender, "push", body)
            except PeerRefused:
                continue

    def _judge_all(self, cluster: SimulatedCluster) -> None:
        for judge in self.judges:
            for slot in cluster.live():
                assert slot.engine is not None
                judge.node(slot, slot.engine, self.record)

    async def _converge(self, cluster: SimulatedCluster) -> None:
        began_s = trio.current_time()
        while not final_checks.converged(cluster):
            if trio.current_time() - began_s > CONVERGENCE_LIMIT_S:
                vectors = [
                    f"{slot.name}: { ({n: sum(p.replica.vv.values()) for n, p in engine.projects.items()}) }"
                    for slot, engine in final_checks.engines(cluster)
                ]
                self.record.violate("P9", f"no convergence in {CONVERGENCE_LIMIT_S} s: {', '.join(vectors)}")
                await trio.sleep_forever()
            await trio.sleep(0.05)
        self.convergence_s = trio.current_time() - began_s

    async def _be_tidy(self, cluster: SimulatedCluster) -> None:
        """Return when the nodes have nothing of their own to write any more: incarnations that have ended."""
        began_s = unchanged_s = trio.current_time()
        before: object = None
        while trio.current_time() - unchanged_s < TIDY_S:
            if trio.current_time() - began_s > TIDY_LIMIT_S:
                self.record.violate("P8", f"a converged cluster still writes after {TIDY_LIMIT_S} s")
                await trio.sleep_forever()
            now = [
                {n: dict(p.replica.vv) for n, p in e.projects.items()}
                for _, e in final_checks.engines(cluster)
            ]
            if now != before:
                before, unchanged_s = now, trio.current_time()
            await trio.sleep(0.25)

    async def _be_quiet(self, cluster: SimulatedCluster) -> None:
        await trio.sleep(SETTLE_S)
        before = [slot.gauges.payload_bytes_sent for slot in cluster.live() if slot.gauges is not None]
        await trio.sleep(IDLE_S)
        after = [slot.gauges.payload_bytes_sent for slot in cluster.live() if slot.gauges is not None]
        if before != after:
            self.record.violate(
                "P8", f"a converged, idle cluster sent payload: {before} became {after} bytes"
            )
