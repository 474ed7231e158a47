"""A failing plan becomes a small one that fails in the same way: nothing that it needs goes, all the rest does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vexil.chaos.campaign import tasks
from vexil.chaos.reports.artefact import read, write
from vexil.chaos.reports.replay import artefact_of, planting, replay, violated
from vexil.chaos.reports.shrinking import NotFailing, Progress, Shrunk, shrink, size_of
from vexil.chaos.reports.smaller import without_node, without_region
from vexil.chaos.run import swarm
from vexil.chaos.run.plan import Client, Fault, Knobs, Operation, Plan
from vexil.chaos.run.plan_check import flaw_of
from vexil.chaos.run.simulation import run_plan
from vexil.chaos.world.simulated_clock import YEAR_MS, ClockFaults
from vexil.chaos.world.simulated_cluster import ClusterFaults
from vexil.chaos.world.simulated_disk import DiskFaults
from vexil.chaos.world.simulated_network import NetworkFaults

NODES = ("eu-1", "eu-2", "eu-3", "us-1", "us-2", "ap-1")
LARGE = Plan(
    seed=3,
    layout={"eu": 3, "us": 2, "ap": 1},
    embedded=True,
    work_s=40.0,
    world=ClusterFaults(
        network=NetworkFaults(slow=0.1, lose_request=0.2, remote_ms_max=200.0),
        disk=DiskFaults(sync_ms_max=30.0),
        clocks={name: ClockFaults(offset_ms=50 * n, drift_ppm=-100.0) for n, name in enumerate(NODES)},
    ),
    knobs=Knobs(page_bytes=4_000, fold_batch_rows=2),
    faults=tuple(
        Fault(n, "pause", n * 0.6, (NODES[n % 6],), lasts_s=3.0)
        if n % 2
        else Fault(n, "cut", n * 0.6, ("eu", "us"), 5.0)
        for n in range(1, 61)
    ),
    clients=tuple(Client(f"c{n}", ("eu", "us", "ap")[n % 3]) for n in range(6)),
    operations=tuple(Operation(n, f"c{n % 6}", n * 0.4, "patch", "a", "prod") for n in range(1, 91)),
)

Fails = Callable[[Plan], "str | None"]


def numbers(plan: Plan) -> tuple[set[int], set[int]]:
    return {fault.number for fault in plan.faults}, {operation.number for operation in plan.operations}


def needs(faults: set[int], operations: set[int]) -> Fails:
    def fails(plan: Plan) -> str | None:
        there = numbers(plan)
        return "P3" if faults <= there[0] and operations <= there[1] else None

    return fails


# -- what goes and what stays


def test_only_the_faults_and_operations_that_it_takes_are_left() -> None:
    found = shrink(LARGE, needs({7, 8, 41}, {12, 77}))
    assert numbers(found.plan) == ({7, 8, 41}, {12, 77})
    assert found.complete
    assert found.invariant == "P3"
    assert {client.name for client in found.plan.clients} == {"c0", "c5"}
    assert found.plan.world == ClusterFaults()
    assert found.plan.knobs == Knobs()
    assert not found.plan.embedded
    assert found.plan.work_s < 3
    assert all(fault.lasts_s <= 0.1 for fault in found.plan.faults)
    assert found.trials < 600


def test_a_failure_that_needs_nothing_leaves_nothing() -> None:
    found = shrink(LARGE, lambda _: "P9")
    assert size_of(found.plan) == replace(
        size_of(found.plan), faults=0, operations=0, clients=0, nodes=1, settings=0
    )
    assert found.trials < 60


def test_nodes_go_with_all_that_names_them() -> None:
    def fails(plan: Plan) -> str | None:
        return "P2" if len(plan.nodes) >= 2 and 40 in numbers(plan)[0] else None

    found = shrink(LARGE, fails).plan
    assert found.layout == {"eu": 1, "us": 1}
    assert [fault.places for fault in found.faults] == [("eu", "us")]
    assert flaw_of(found) == ""


def test_settings_go_one_by_one_until_only_those_are_left_that_it_takes() -> None:
    def fails(plan: Plan) -> str | None:
        drifts = any(clock.drift_ppm for clock in plan.world.clocks.values())
        return "P13" if plan.world.network.slow and drifts and plan.knobs.page_bytes else None

    found = shrink(LARGE, fails).plan
    assert found.world.network == NetworkFaults(slow=0.1)
    assert list(found.world.clocks.values()) == [ClockFaults(drift_ppm=-100.0)]
    assert found.world.disk == DiskFaults()
    assert found.knobs == Knobs(page_bytes=4_000)
    assert size_of(found).settings == 3


def test_time_that_it_takes_is_left() -> None:
    def fails(plan: Plan) -> str | None:
        at = {fault.number: fault for fault in plan.faults}
        if not {10, 30} <= at.keys() or at[30].at_s - at[10].at_s < 5 or at[10].lasts_s < 2:
            return None
        return "P4" if plan.work_s >= at[30].at_s + 2 else None

    found = shrink(LARGE, fails).plan
    first, second = found.faults
    assert 5 <= second.at_s - first.at_s < 6.5
    assert first.at_s <= 0.1
    assert 2 <= first.lasts_s < 3
    assert second.lasts_s <= 0.1
    assert second.at_s + 2 <= found.work_s <= second.at_s + 3.1


def test_as_little_of_a_fault_as_it_takes_is_left() -> None:
    herd, step = (
        Fault(1, "herd", 1.0, ("eu-1",), amount=100.0),
        Fault(2, "clock_step", 2.0, ("eu-1",), 1.0, -4_000.0),
    )

    def fails(plan: Plan) -> str | None:
        at = {fault.number: fault for fault in plan.faults}
        return "P1" if len(at) == 2 and at[1].amount >= 10 and at[2].amount <= -1_000 else None

    found = shrink(replace(LARGE, faults=(herd, step)), fails).plan
    assert [fault.amount for fault in found.faults] == [12.0, -1_000.0]


def test_moments_become_round_numbers() -> None:
    odd = replace(LARGE, faults=tuple(replace(f, at_s=f.at_s + 0.0123456) for f in LARGE.faults))
    found = shrink(odd, needs({3, 30}, {40})).plan
    moments = [fault.at_s for fault in found.faults] + [operation.at_s for operation in found.operations]
    assert all(round(at_s, 2) == at_s for at_s in moments)


def test_another_violation_is_no_reduction() -> None:
    def fails(plan: Plan) -> str | None:
        faults = numbers(plan)[0]
        return "P3" if {5, 50} <= faults else "P9"

    found = shrink(LARGE, fails)
    assert found.invariant == "P3"
    assert numbers(found.plan)[0] == {5, 50}


def test_an_error_is_no_reduction_and_is_told() -> None:
    def fails(plan: Plan) -> str | None:
        if len(plan.faults) < 2:
            raise RuntimeError("the harness is broken")
        return "P3"

    found = shrink(LARGE, fails)
    assert len(found.plan.faults) == 2
    assert found.raised == ("RuntimeError: the harness is broken",)


def test_what_violates_nothing_is_not_shrunk() -> None:
    with pytest.raises(NotFailing, match="seed 3"):
        shrink(LARGE, lambda _: None)


# -- how it is done


def test_every_plan_that_is_tried_can_be_run_and_is_tried_once() -> None:
    tried: list[Plan] = []

    def fails(plan: Plan) -> str | None:
        tried.append(plan)
        return needs({8, 33}, {50})(plan)

    # Without us-2 nobody keeps the time.
    far_off = {name: ClockFaults(offset_ms=YEAR_MS) for name in NODES if name != "us-2"}
    found = shrink(replace(LARGE, world=replace(LARGE.world, clocks=far_off)), fails)
    assert not [flaw for flaw in map(flaw_of, tried) if flaw]
    assert len({repr(plan) for plan in tried}) == len(tried) == found.trials


def test_the_order_of_trials_is_fixed() -> None:
    def trials() -> list[Plan]:
        tried: list[Plan] = []

        def fails(plan: Plan) -> str | None:
            tried.append(plan)
            return needs({8, 33}, {50})(plan)

        shrink(LARGE, fails)
        return tried

    assert trials() == trials()


def test_trials_and_time_are_bounded_and_the_best_so_far_is_kept() -> None:
    fails = needs({7, 8, 41}, {12, 77})
    clock = iter(range(10_000))
    for found in (
        shrink(LARGE, fails, trials_max=30),
        shrink(LARGE, fails, now_s=lambda: next(clock), time_limit_s=30.5),
    ):
        assert not found.complete
        assert 25 <= found.trials <= 31
        assert fails(found.plan) == "P3"
        assert found.after.faults < found.before.faults


def test_progress_is_told_of_ever_smaller_plans_that_fail() -> None:
    told: list[Progress] = []
    fails = needs({7}, {12})
    found = shrink(LARGE, fails, progress=told.append)
    assert told[-1].plan == found.plan
    assert all(fails(step.plan) == "P3" for step in told)
    trials = [step.trials for step in told]
    assert trials == sorted(set(trials))
    assert [step.size.faults for step in told] == sorted((step.size.faults for step in told), reverse=True)


def test_a_node_in_the_middle_leaves_its_name_to_the_last_of_its_region() -> None:
    clocks = {
        "eu-1": ClockFaults(offset_ms=1),
        "eu-2": ClockFaults(offset_ms=2),
        "eu-3": ClockFaults(offset_ms=3),
    }
    faults = (
        Fault(1, "pause", 1.0, ("eu-2",)),
        Fault(2, "pause", 2.0, ("eu-3",)),
        Fault(3, "cut", 3.0, ("eu", "us")),
    )
    plan = replace(LARGE, world=ClusterFaults(clocks=clocks), faults=faults)
    found = without_node(plan, "eu-2")
    assert found.layout == {"eu": 2, "us": 2, "ap": 1}
    assert [fault.places for fault in found.faults] == [("eu-2",), ("eu", "us")]
    assert found.world.clocks == {"eu-1": ClockFaults(offset_ms=1), "eu-2": ClockFaults(offset_ms=3)}
    assert without_node(plan, "ap-1") == plan


def test_a_region_goes_with_its_newcomers_and_its_clients_go_or_move() -> None:
    faults = (
        Fault(1, "join", 1.0, ("us-12",)),
        Fault(2, "pause", 2.0, ("eu-3",)),
        Fault(3, "cut", 3.0, ("ap", "us")),
    )
    gone, moved = without_region(replace(LARGE, faults=faults), "us")
    for found in (gone, moved):
        assert flaw_of(found) == ""
        assert [fault.number for fault in found.faults] == [2]
    assert {client.region for client in gone.clients} == {"eu", "ap"}
    assert len(gone.clients) == 4
    assert len(moved.clients) == 6
    assert moved.operations == LARGE.operations
    assert list(without_region(replace(LARGE, layout={"eu": 1}), "eu")) == []


# -- with real runs


def test_a_planted_bug_is_found_made_small_written_and_repeated(tmp_path: Path) -> None:
    planted = "14-gap-skipped"

    def fails(plan: Plan) -> str | None:
        return violated(plan, planted=planted)

    drawn = next(plan for plan in map(swarm.plan, range(20)) if fails(plan))
    found: Shrunk = shrink(drawn, fails, trials_max=60)
    assert found.after.faults + found.after.operations < 5
    with planting(planted):
        report = run_plan(found.plan)
    path = tmp_path / "smaller.json"
    write(path, artefact_of(report, planted=planted, found="by a test"))
    again = replay(read(path))
    assert again.report.violations[0].invariant == found.invariant
    assert again.same_violation
    assert again.same_trace
    # It is the bug, and not the plan.
    assert violated(found.plan) is None


def test_what_made_a_run_smaller_and_could_not_go_on_is_told_with_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run_plan(swarm.plan(1))
    path = tmp_path / "run.json"
    write(path, artefact_of(report, found="by a test"))
    size = size_of(report.plan)

    def cut_short(plan: Plan, *_: object, **__: object) -> Shrunk:
        return Shrunk(plan, "P3", 7, complete, size, size, raised)

    monkeypatch.setattr(tasks, "shrink", cut_short)
    raised: tuple[str, ...] = ("ValueError: odd",)
    complete = False
    kept = tasks.make_smaller(str(path))
    assert kept.remarks == (
        "a bound was reached: it can perhaps be made smaller still",
        "a trial ended with ValueError: odd",
    )
    assert all(remark in read(path).found for remark in kept.remarks)
    complete, raised = True, ()
    assert tasks.make_smaller(str(path)).remarks == ()
