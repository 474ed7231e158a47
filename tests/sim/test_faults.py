"""Every kind of fault strikes what it says, says so, and leaves a cluster that is one again when it is over."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from vexil.chaos import faults
from vexil.chaos.clients import operations
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.faults.fault import KINDS, PATIENCE_S, Drawn, Ground
from vexil.chaos.run.plan import Client, Fault, Operation, Plan
from vexil.chaos.run.simulation import Report, run_plan
from vexil.chaos.run.swarm import SURE_MOST, plan
from vexil.chaos.world.cluster_faults import STRIKING, ClusterFaults
from vexil.chaos.world.next_version import MORE
from vexil.chaos.world.process_life import ProcessLife
from vexil.chaos.world.protocol_steps import STEPS
from vexil.chaos.world.simulated_disk import DiskFaults
from vexil.chaos.world.simulated_network import NetworkFaults
from vexil.chaos.world.simulated_store import StoreFaults
from vexil.crdt.schema import RETIRED_OBJECT

assert faults.__doc__, "the kinds register themselves"
LAYOUT = {"eu": 2, "us": 1}
NODES = ("eu-1", "eu-2", "us-1")
GROUND = Ground(LAYOUT, NODES, embedded=True, work_s=8.0)
AT_S = 2.0
SECOND_S = 5.0


def run(
    *chosen: Fault,
    world: ClusterFaults | None = None,
    embedded: bool = True,
    wanted: tuple[Operation, ...] | None = None,
    work_s: float = GROUND.work_s,
    layout: dict[str, int] | None = None,
    seed: int = 3,
) -> Report:
    layout = layout or LAYOUT
    clients = tuple(Client(f"{region}-1", region, roaming=0.3, impatient=0) for region in layout)
    if wanted is None:
        wanted = operations.draw(Random(seed), clients, count=40, work_s=GROUND.work_s)
    return run_plan(
        Plan(
            seed=seed,
            layout=layout,
            embedded=embedded,
            work_s=work_s,
            world=world or ClusterFaults(),
            faults=chosen,
            clients=clients,
            operations=wanted,
        )
    )


def fault(name: str, drawn: Drawn, *, number: int = 1, at_s: float = AT_S) -> Fault:
    return Fault(number, name, at_s, drawn.places, min(drawn.lasts_s, 3.0), drawn.amount, drawn.point)


def drawn(name: str, ground: Ground = GROUND, *, seed: int = 1) -> Drawn:
    found = KINDS[name].draw(Random(seed), ground)
    assert found is not None, f"{name} can never strike here"
    if name == "crash_at_point":
        return replace(found, point="before journal sync")
    return replace(found, amount=7.0) if name == "crash_at_step" else found


# -- all of them


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_fault_strikes_and_the_cluster_is_one_again_afterwards(name: str) -> None:
    twice = fault(name, drawn(name)), fault(name, drawn(name, seed=2), number=2, at_s=SECOND_S)
    report = run(*twice)
    assert report.history.fired[name]
    assert report.acknowledged
    assert not report.violations, report
    windows = [window for window in report.history.windows if window.fault.kind == name]
    assert all(window.ended_s is not None for window in windows)


def test_faults_whose_places_are_not_there_strike_nothing() -> None:
    nowhere = [
        replace(fault(name, drawn(name), number=n), places=tuple("nowhere" for _ in drawn(name).places))
        for n, name in enumerate(sorted(KINDS), 1)
    ]
    report = run(*nowhere, wanted=())
    assert not report.history.fired
    assert report.not_fired == sorted(KINDS)


def test_a_fault_that_is_under_way_at_the_end_is_undone() -> None:
    late = [
        replace(fault(name, drawn(name), number=n, at_s=GROUND.work_s - 0.5), lasts_s=60.0)
        for n, name in enumerate(sorted(KINDS), 1)
    ]
    for few in (late[::3], late[1::3], late[2::3]):
        report = run(*few)
        assert not report.violations, report
        assert all(window.ended_s is not None for window in report.history.windows)


def test_kinds_are_drawn_only_where_they_can_strike() -> None:
    alone = Ground({"eu": 1}, ("eu-1",), embedded=False, work_s=8.0)
    impossible = {name for name, kind in KINDS.items() if kind.draw(Random(1), alone) is None}
    assert impossible == {
        "cut", "cut_one_way", "cut_region", "isolate_node", "flap", "refuse_one_way", "slow_link", "narrow_link",
        "evict", "evict_unreachable", "clone", "copied_machine",
    }  # fmt: skip
    for seed in range(300):
        chosen = plan(seed)
        counts = Counter(f.kind for f in chosen.faults)
        assert all(count <= KINDS[kind].most for kind, count in counts.items())
        if not chosen.embedded:
            assert not counts.keys() & {"clone", "copied_machine"}


def test_every_kind_and_every_continuous_fault_is_in_some_plan() -> None:
    plans = [plan(seed) for seed in range(400)]
    assert {f.kind for chosen in plans for f in chosen.faults} == KINDS.keys()
    assert frozenset[str]().union(*(chosen.world.continuous for chosen in plans)) == STRIKING


def test_the_first_fault_of_a_kind_has_the_time_that_it_may_need() -> None:
    for seed in range(200):
        chosen = plan(seed)
        first: dict[str, float] = {}
        for each in chosen.faults:
            first.setdefault(each.kind, each.at_s)
        late = {k for k, at_s in first.items() if at_s > max(0.0, chosen.work_s - KINDS[k].needs_s)}
        assert not late, seed
        assert [each.number for each in chosen.faults] == list(range(1, len(chosen.faults) + 1))
        assert [each.at_s for each in chosen.faults] == sorted(each.at_s for each in chosen.faults)


def test_what_goes_on_all_the_time_is_likelier_where_little_happens() -> None:
    small = [p for p in map(plan, range(400)) if p.work_s <= 8 and sum(p.layout.values()) == 2]
    rates = [p.world.network.lose_answer for p in small if p.world.network.lose_answer]
    assert rates
    assert min(rates) == SURE_MOST


# -- what goes on all the time


@pytest.mark.parametrize(
    "world",
    [
        ClusterFaults(
            network=NetworkFaults(
                slow=0.05,
                lose_request=0.05,
                lose_answer=0.05,
                duplicate_request=0.05,
                truncate=0.05,
                corrupt=0.05,
            )
        ),
        ClusterFaults(disk=DiskFaults(sync_ms_max=5, sync_fails=0.05)),
        ClusterFaults(
            store=StoreFaults(
                slow=0.05,
                timeout_applied=0.05,
                timeout_lost=0.05,
                timeout_partial=0.05,
                timeout_late=0.05,
                timeout_ms=300,
            )
        ),
    ],
)
def test_continuous_faults_strike_and_are_counted(world: ClusterFaults) -> None:
    report = run(fault("crash", drawn("crash")), fault("stop", drawn("stop"), number=2), world=world)
    assert not report.violations, report
    assert world.continuous
    assert not report.not_fired, report.history.fired


def test_what_strikes_when_a_process_dies_or_starts_is_counted_too() -> None:
    at_sync = drawn("crash_at_point")
    faults = [fault("crash_at_point", at_sync, number=n, at_s=float(n)) for n in range(1, 6)]
    for kept in (DiskFaults(crash_keeps=1), DiskFaults(crash_tears=1)):
        report = run(*faults, world=ClusterFaults(disk=kept))
        assert not report.violations, report
        assert report.history.fired["disk.crash_keeps" if kept.crash_keeps else "disk.crash_tears"]
    report = run(*faults, world=ClusterFaults(store=StoreFaults(read_fails=0.3)))
    assert not report.violations, report
    assert report.history.fired["store.read_fails"]


def test_a_continuous_fault_that_never_strikes_leaves_the_run_unknown() -> None:
    never = NetworkFaults(lose_request=1e-12)
    assert run(world=ClusterFaults(network=never)).not_fired == ["network.lose_request"]


# -- single kinds


@pytest.mark.parametrize("step", ["journal sync", "journal append", "load", "serve push", "client write"])
def test_a_process_dies_in_the_step_that_is_named(step: str) -> None:
    chosen = replace(fault("crash_at_point", drawn("crash_at_point")), point=f"after {step}")
    report = run(chosen)
    assert report.history.struck["crash_at_point", step] == 1
    assert not report.violations, report


def test_a_process_dies_at_awaits_that_take_no_time() -> None:
    """One step later is another place in the code, at the same virtual time."""
    struck: set[tuple[str, ...]] = set()
    moments: list[float] = []
    for count in range(1, 24, 3):
        chosen = replace(fault("crash_at_step", drawn("crash_at_step")), amount=float(count))
        report = run(replace(chosen, places=("eu-1",)))
        assert not report.violations, report
        struck.add(tuple(step for kind, step in report.history.struck))
        (window,) = report.history.windows
        moments.append(window.began_s)
    assert len(struck) > 2
    assert len(set(moments)) < len(moments)


@pytest.mark.parametrize(
    ("kind", "amount", "point"), [("crash_at_step", 110, ""), ("crash_at_point", 0, "after call push")]
)
def test_who_dies_before_his_moment_leaves_it_to_the_next_process(
    kind: str, amount: float, point: str
) -> None:
    """The first process is killed at once by something else; the fault is patient, and strikes the one after it."""
    aimed = Fault(1, kind, 2.0, ("eu-1",), amount=amount, point=point)
    report = run(aimed, Fault(2, "crash", 2.001, ("eu-1",)))
    assert not report.violations, report
    began_s = {window.fault.kind: window.began_s for window in report.history.windows}
    starts = [life.began_s for life in report.history.lives if life.slot == "eu-1"]
    assert any(began_s["crash"] < start < began_s[kind] for start in starts)


def test_the_first_of_a_kind_waits_longer_than_those_after_it() -> None:
    """The region is away for longer than `PATIENCE_S`: nothing is promised, and no log can lose anything."""
    cut = Fault(1, "cut_region", 0.0, ("us",), lasts_s=12.0)
    crashes = [Fault(n, "crash", 0.1, (node,)) for n, node in enumerate(NODES, 2)]
    report = run(cut, *crashes, Fault(9, "log_shortened", 1.0, ("us-1",)), work_s=30.0)
    assert not report.violations, report
    (shortened,) = [w for w in report.history.windows if w.fault.kind == "log_shortened"]
    assert shortened.began_s > report.history.began_s + 12.0 > report.history.began_s + 1.0 + PATIENCE_S


def test_a_disk_may_be_lost_while_its_node_is_down() -> None:
    report = run(Fault(1, "crash", 2.0, ("eu-1",)), Fault(2, "disk_lost", 2.001, ("eu-1",)))
    assert not report.violations, report
    lost = next(window for window in report.history.windows if window.fault.kind == "disk_lost")
    up = [life for life in report.history.lives if life.slot == "eu-1" and life.ended_s is None]
    assert lost.began_s < report.history.began_s + 2.1
    assert all(life.began_s >= lost.began_s for life in up)


def test_the_steps_that_processes_make_are_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    made: set[str] = set()
    enter = ProcessLife.enter

    def noting(life: ProcessLife, name: str) -> None:
        made.add(name)
        enter(life, name)

    monkeypatch.setattr(ProcessLife, "enter", noting)
    run(fault("evict", drawn("evict")), fault("join", drawn("join"), number=2))
    assert made <= {*STEPS}
    assert len(made) > len(STEPS) / 2


def writes(*nodes_of: str) -> tuple[Operation, ...]:
    return tuple(
        Operation(n, f"{region}-1", n * 0.25, "patch", "a", "prod") for n, region in enumerate(nodes_of, 1)
    )


def test_what_a_fault_destroys_is_what_nobody_else_has() -> None:
    """The region is cut off and writes; its only disk goes with what was written since, and with nothing else."""
    cut = Fault(1, "cut_region", 1.0, ("us",), lasts_s=5.0)
    lost = Fault(2, "disk_lost", 3.0, ("us-1",))
    calm = NetworkFaults(remote_ms_max=30)
    report = run(cut, lost, wanted=writes(*["us"] * 16), world=ClusterFaults(network=calm))
    assert not report.violations, report
    history = report.history
    destroyed = history.destroyed[PROJECT]
    alone = {
        dot
        for dot in history.changes[PROJECT]
        if history.applied_s[PROJECT, dot].keys() == {"us-1"}
        and history.applied_s[PROJECT, dot]["us-1"] < history.windows[1].began_s
    }
    assert destroyed == alone
    (destruction,) = history.destructions
    assert (destruction.slot, set(destruction.gone[PROJECT])) == ("us-1", alone)
    assert len(destroyed) > 1
    assert all(dot in destroyed or "eu-1" in who for (_, dot), who in history.applied_s.items())


def test_a_lost_disk_destroys_nothing_that_its_region_store_has() -> None:
    cut = Fault(1, "cut_region", 1.0, ("us",), lasts_s=5.0)
    lost = Fault(2, "disk_lost", 4.0, ("us-1",))
    report = run(cut, lost, wanted=writes(*["us"] * 10), embedded=False)
    assert report.history.fired["disk_lost"]
    assert not report.history.destroyed
    assert not report.violations, report


def test_what_has_ended_and_is_in_no_vector_any_more_is_not_destroyed_with_a_disk() -> None:
    """Every incarnation of the beginning is retired, and every disk of the beginning is lost, one after the other."""
    stops = [Fault(n, "stop", 2.0 + n / 10, (node,)) for n, node in enumerate(NODES, 1)]
    losses = [Fault(n + 10, "disk_lost", 10.0 + 6 * n, (node,)) for n, node in enumerate(NODES, 1)]
    for embedded in (True, False):
        report = run(*stops, *losses, wanted=writes(*["us", "eu"] * 4), embedded=embedded, work_s=34.0)
        assert report.history.fired["disk_lost"] == len(NODES)
        retired = [
            o.field
            for change in report.history.changes[PROJECT].values()
            for o in change.operations
            if o.object == RETIRED_OBJECT
        ]
        assert retired
        assert not report.history.destroyed
        assert not report.violations, report


def test_all_is_mended_before_every_client_has_its_answer() -> None:
    """The only node dies just before the end, and a client waits for it."""
    late = Operation(1, "us-1", GROUND.work_s - 0.1, "patch", "a", "prod")
    crash = Fault(1, "crash", GROUND.work_s - 0.2, ("us-1",))
    history = run(crash, wanted=(late,), layout={"us": 1}).history
    (write,) = history.writes
    assert history.frozen_s is not None
    assert history.answered_s is not None
    assert write.acknowledged_s is not None
    assert history.frozen_s < write.acknowledged_s <= history.answered_s


def test_the_last_disk_with_the_state_is_not_lost() -> None:
    report = run(Fault(1, "disk_lost", 1.0, ("eu-1",)), layout={"eu": 1})
    assert report.not_fired == ["disk_lost"]
    assert report.acknowledged
    assert not report.violations, report


def test_a_node_of_the_next_version_writes_what_this_one_keeps_without_knowing_it() -> None:
    chosen = Fault(1, "restart_as_next", 0.5, ("eu-1",), lasts_s=5.0)
    report = run(chosen)
    assert not report.violations, report
    changes = report.history.changes[PROJECT]
    newer = [c for c in changes.values() if any(o.field == MORE for o in c.operations)]
    assert len(newer) > 1
    everywhere = {slot for life in report.history.lives for slot in (life.slot,)}
    assert all(report.history.applied_s[PROJECT, c.dot].keys() == everywhere for c in newer)


def test_an_old_copy_and_a_clone_are_noticed_by_the_nodes_themselves() -> None:
    kinds: set[str] = set()
    for seed in range(1, 5):
        old = Fault(1, "disk_old_copy", 1.0, ("eu-1",), lasts_s=4.0)
        twin = Fault(2, "clone", 1.0, ("eu-2", "eu-55"), lasts_s=5.0)
        report = run(old, twin, seed=seed)
        assert not report.violations, report
        kinds |= {event.text.split()[0] for event in report.history.events if event.kind == "alarm"}
    assert {"restored", "twin"} <= kinds
