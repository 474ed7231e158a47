"""What faults cost: counted from the history, by kind of fault, and never a number where nothing was measured."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from tests.sim.made_up_history import MadeUp
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.reports.measures import NOT_SERVED, NOTHING, Cost, Measures, Share, measure, rows, table
from vexil.chaos.reports.sketch import BUCKETS_MAX, GROWTH, LEAST_S, Sketch, sketch_of
from vexil.chaos.run import swarm
from vexil.chaos.run.plan import Client, Fault, Operation, Plan
from vexil.chaos.run.simulation import run_plan
from vexil.node import errors


def measured(made_up: MadeUp) -> Measures:
    return measure(made_up.plan, made_up.history)


def longest_recovery_s(made_up: MadeUp, kind: str) -> float:
    cost = measured(made_up).kinds[kind]
    assert len(cost.recovery) == cost.windows
    assert not cost.unrecovered
    return cost.recovery.longest_s


# -- availability


def test_requests_count_where_and_when_they_began() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("store_gone", 1.0, 3.0, "eu")
    run.write("eu-1", 0.9, told_s=2.0)
    run.write("eu-1", 1.0, "durability.unavailable")
    run.write("eu-1", 2.9, told_s=8.0)
    run.read("eu-1", 1.5, "none")
    run.write("us-1", 2.0)
    run.read("us-1", 3.0)
    found = measured(run)
    assert found.kinds["store_gone"].near == Share(1, 3)
    assert found.kinds["store_gone"].elsewhere == Share(1, 1)
    assert found.outside.near == Share(2, 2)


def test_a_fault_that_names_a_node_is_near_to_its_region_and_one_that_names_nothing_to_all() -> None:
    run = MadeUp("eu-1", "eu-2", "us-1")
    run.fault("pause", 1.0, 3.0, "eu-1")
    run.fault("herd", 1.0, 3.0)
    for node in ("eu-2", "us-1"):
        run.write(node, 2.0)
    found = measured(run).kinds
    assert (found["pause"].near, found["pause"].elsewhere) == (Share(1, 1), Share(1, 1))
    assert (found["herd"].near, found["herd"].elsewhere) == (Share(2, 2), Share())


def test_a_refusal_on_the_merits_of_a_request_is_not_counted() -> None:
    run = MadeUp("eu-1")
    run.write("eu-1", 1.0, "flag.stale")
    run.write("eu-1", 1.0, "node.not_ready")
    assert measured(run).outside.near == Share(0, 1)


def test_every_error_that_says_not_here_or_not_now_counts_against_the_node() -> None:
    raised = (
        errors.TokenBehind("x"),
        errors.RateLimited("x"),
        errors.DurabilityUnavailable("x"),
        errors.NodeNotReady("x"),
        errors.StreamsFull("x"),
        errors.WriteIndeterminate("x"),
    )
    assert {error.code for error in raised} <= NOT_SERVED
    kinds = errors.ApiError.__subclasses__()
    assert {kind for kind in kinds if kind.status == 429 or kind.status > 500} <= set(map(type, raised))


def test_a_request_that_ended_with_the_run_says_nothing_of_the_node() -> None:
    run = MadeUp("eu-1")
    run.write("eu-1", 1.0, "none", told_s=4.0)
    run.write("eu-1", 1.0, "none", told_s=3.0)
    run.write("eu-1", 4.0)
    run.violation(4.0, "it is gone")
    assert measured(run).outside.near == Share(1, 2)


def test_a_client_that_finds_no_node_was_not_served_at_home() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("crash", 1.0, 1.0, "eu-1")
    run.dies("eu-1", 1.0)
    run.write("", 2.0, "none")
    assert measured(run).kinds["crash"].near == Share(0, 1)


def test_flags_that_were_read_together_are_one_request() -> None:
    run = MadeUp("eu-1")
    run.read("eu-1", 1.0, flag="a")
    run.read("eu-1", 1.0, flag="b")
    assert measured(run).outside.near == Share(1, 1)


# -- staleness


def test_a_node_is_stale_from_the_acknowledgement_until_it_has_the_change() -> None:
    run = MadeUp("eu-1", "us-1", "ap-1")
    run.fault("cut", 1.0, 4.0, "eu", "us")
    write = run.write("eu-1", 1.0, told_s=2.0)
    run.has("ap-1", write, 1.5)
    run.has("us-1", write, 7.0)
    stale = measured(run).kinds["cut"].staleness
    assert len(stale) == 3
    assert stale.longest_s == pytest.approx(5.0)
    assert stale.quantile_s(0.5) == LEAST_S
    assert not len(measured(run).outside.staleness)


def test_a_node_that_does_not_serve_is_not_stale() -> None:
    run = MadeUp("eu-1", "us-1")
    run.dies("us-1", 1.0)
    run.life("us-1", 5.0)
    write = run.write("eu-1", 2.0)
    run.has("us-1", write, 6.0)
    assert len(measured(run).outside.staleness) == 1


# -- recovery


def test_recovery_goes_from_the_end_of_the_window_until_everybody_has_everything() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("cut", 1.0, 4.0, "eu", "us")
    first, second = run.write("eu-1", 2.0), run.write("eu-1", 3.0)
    run.has("us-1", first, 6.5)
    run.has("us-1", second, 5.0)
    after = run.write("eu-1", 6.0)
    run.has("us-1", after, 30.0)
    assert longest_recovery_s(run, "cut") == pytest.approx(2.5)


def test_what_had_arrived_before_the_end_needs_no_recovery() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("cut", 1.0, 4.0, "eu", "us")
    run.has("us-1", run.write("eu-1", 2.0), 3.0)
    assert longest_recovery_s(run, "cut") == 0.0


def test_what_a_node_lacks_again_later_is_not_of_this_fault() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("cut", 1.0, 4.0, "eu", "us")
    write = run.write("eu-1", 2.0)
    run.has("us-1", write, 5.0)
    run.dies("us-1", 10.0)
    run.life("us-1", 12.0)
    run.loses("us-1", write, 11.0, 15.0)
    assert longest_recovery_s(run, "cut") == pytest.approx(1.0)


def test_a_node_that_was_taken_down_has_recovered_when_it_serves_and_has_caught_up() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("crash", 1.0, 1.0, "us-1")
    run.dies("us-1", 1.0)
    run.life("us-1", 5.0)
    run.has("us-1", run.write("eu-1", 2.0), 5.75)
    run.write("us-1", 4.0, "none")
    cost = measured(run).kinds["crash"]
    assert longest_recovery_s(run, "crash") == pytest.approx(0.75)
    assert cost.elsewhere == Share(1, 1)
    assert cost.near == Share(0, 1)


def test_a_change_that_a_disk_has_lost_has_to_come_back() -> None:
    run = MadeUp("eu-1", "us-1")
    write = run.write("eu-1", 0.5)
    run.has("us-1", write, 0.6)
    run.fault("disk_lost", 1.0, 1.0, "us-1")
    run.dies("us-1", 1.0)
    run.life("us-1", 5.0)
    run.loses("us-1", write, 4.5, 8.0)
    assert longest_recovery_s(run, "disk_lost") == pytest.approx(3.0)


def test_a_window_without_recovery_is_counted_apart() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("cut", 1.0, 4.0, "eu", "us")
    run.write("eu-1", 2.0)
    cost = measured(run).kinds["cut"]
    assert (cost.windows, cost.unrecovered, len(cost.recovery)) == (1, 1, 0)


# -- together, and as text


def test_measures_of_two_runs_are_those_of_both() -> None:
    one, two = MadeUp("eu-1", "us-1"), MadeUp("eu-1", "us-1")
    for run, had_s in ((one, 5.0), (two, 9.0)):
        run.fault("cut", 1.0, 4.0, "eu", "us")
        run.has("us-1", run.write("eu-1", 2.0), had_s)
    both = measured(one) + measured(two)
    assert both.kinds["cut"].windows == 2
    assert both.kinds["cut"].recovery.longest_s == pytest.approx(5.0)
    assert both == measured(two) + measured(one)
    assert measured(one) + Measures() == measured(one)


def test_what_nobody_measured_is_a_dash_and_never_a_zero() -> None:
    assert set(rows(Measures({"cut": Cost()}))[1][1:]) == {NOTHING}
    lines = table(measured(MadeUp("eu-1"))).splitlines()
    assert len(lines) == 2
    assert "0" not in lines[1]


def test_a_quantile_is_as_exact_as_its_bucket_and_the_sketch_stays_small() -> None:
    rng = Random(1)
    durations_s = [rng.expovariate(0.5) * 10 ** rng.uniform(-3, 4) for _ in range(20_000)]
    parts = [sketch_of(durations_s[start::7]) for start in range(7)]
    whole = sum(parts, Sketch())
    assert whole == sketch_of(durations_s)
    assert len(whole.counts) <= BUCKETS_MAX
    durations_s.sort()
    for share in (0.01, 0.5, 0.99, 1.0):
        exact_s = durations_s[max(0, int(share * len(durations_s)) - 1)]
        found_s = whole.quantile_s(share)
        assert found_s is not None
        assert exact_s <= found_s * (1 + 1e-9)
        assert found_s <= max(exact_s * GROWTH, LEAST_S)
    assert Sketch().quantile_s(0.5) is None


# -- a real run


def test_a_run_tells_when_every_node_had_every_acknowledged_change() -> None:
    plan = next(p for p in map(swarm.plan, range(100)) if len(p.nodes) > 1 and len(p.operations) < 80)
    report = run_plan(replace(plan, faults=()))
    assert not report.violations
    history = report.history
    acknowledged = [w for w in history.writes if w.acknowledged_s is not None and w.dot is not None]
    assert acknowledged
    for write in acknowledged:
        assert write.dot is not None
        assert set(history.applied_s[PROJECT, write.dot]) == set(plan.nodes)
    assert {life.slot for life in history.lives if life.ready_s is not None} == set(plan.nodes)
    assert not [life for life in history.lives if life.how == "crash"]
    cost = measure(report.plan, history).outside
    assert len(cost.staleness) == len(acknowledged) * len(plan.nodes)
    assert cost.near.asked


def test_a_run_tells_what_a_lost_disk_lacked_and_what_came_as_a_whole() -> None:
    operations = tuple(Operation(n, "ann", n / 10, "metadata", f"soft-{n:02d}", "prod") for n in range(1, 9))
    faults = (Fault(1, "disk_lost", 2.0, ("us-1",)), Fault(2, "join", 3.0, ("eu-12",)))
    report = run_plan(
        Plan(
            seed=5,
            layout={"eu": 2, "us": 1},
            embedded=True,
            work_s=6.0,
            faults=faults,
            clients=(Client("ann", "eu", roaming=0.0, impatient=0.0, demanding=0.0),),
            operations=operations,
        )
    )
    assert not report.violations
    assert report.acknowledged == len(operations)
    history = report.history
    assert set(history.fired) >= {"disk_lost", "join"}
    dots = {write.dot for write in history.writes}
    lost = [absence for absence in history.absences if absence.project == PROJECT and absence.dot in dots]
    assert {(absence.slot, absence.dot) for absence in lost} == {("us-1", dot) for dot in dots}
    assert all(absence.until_s is not None and absence.until_s >= absence.since_s for absence in lost)
    for dot in dots:
        assert dot is not None
        assert {"eu-1", "eu-2", "us-1", "eu-12"} <= set(history.applied_s[PROJECT, dot])
