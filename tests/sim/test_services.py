"""Services with the SDK in a simulated cluster: what crashes, cuts and kills do to their clients, and what they say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from vexil.chaos.checkers.checker import Verdict
from vexil.chaos.reports import smaller
from vexil.chaos.reports.artefact import Artefact, decode, encode
from vexil.chaos.reports.shrinking import shrink
from vexil.chaos.run.plan import Client, Fault, Operation, Plan, Service
from vexil.chaos.run.plan_check import CLIENTS_MAX, flaw_of
from vexil.chaos.run.simulation import Report, run_plan
from vexil.chaos.run.swarm import CROWD_SERVICES, SERVED, plan

SHOP = Service("shop", "eu", "prod", ("eu-1", "eu-2"))
PLAN = Plan(
    seed=3,
    layout={"eu": 2, "us": 1},
    work_s=8.0,
    clients=(Client("ann", "us", roaming=0.0),),
    operations=tuple(
        Operation(n, "ann", at_s, "metadata", f"soft-{n:02d}", "prod")
        for n, at_s in enumerate((1.0, 3.0, 6.0), 1)
    ),
    services=(SHOP,),
)
CRASH = Fault(1, "crash", 2.0, ("eu-1",))


def told(report: Report, *kinds: str, service: str = "shop") -> list[tuple[float, str]]:
    """What the timeline says of a service: seconds since the work began, and a text."""
    began_s = report.history.began_s
    events = report.history.events
    return [(e.at_s - began_s, e.text) for e in events if e.place == service and e.kind in kinds]


def test_a_service_follows_every_write_and_ends_with_what_its_node_has() -> None:
    report = run_plan(PLAN)
    assert report.violations == []
    assert {"soft-01", "soft-02", "soft-03"} <= report.history.standings["shop"].flag_set.flags.keys()
    assert [at_s > 1.0 for at_s, _ in told(report, "follows")] == [False, True, True, True]


def test_whoever_loses_his_node_says_so_at_once_and_is_soon_well_again() -> None:
    report = run_plan(replace(PLAN, faults=(CRASH,)))
    assert report.violations == []
    died_s = next(life.ended_s for life in report.history.lives if life.slot == "eu-1" and life.ended_s)
    lost = [at_s for at_s, text in told(report, "status") if "eu-1: the stream is given up" in text]
    assert lost[0] == pytest.approx(died_s - report.history.began_s, abs=0.1)
    assert report.history.standings["shop"].healthy


def test_whoever_hears_nothing_of_his_node_goes_on_at_the_next_one() -> None:
    report = run_plan(replace(PLAN, faults=(Fault(1, "isolate_node", 0.5, ("eu-1",), lasts_s=7.0),)))
    assert report.violations == []
    told_by_next = [text for at_s, text in told(report, "status", "follows") if at_s < 7.0 and "eu-2" in text]
    assert told_by_next


def test_who_is_cut_off_from_all_nodes_says_that_it_is_stale_until_it_hears_again() -> None:
    cuts = tuple(
        Fault(n, "isolate_node", 0.5, (name,), lasts_s=7.0) for n, name in enumerate(("eu-1", "eu-2"), 1)
    )
    far = replace(SHOP, region="us")
    report = run_plan(replace(PLAN, faults=cuts, services=(far,)))
    assert report.violations == []
    assert any("brings nothing" in text for _, text in told(report, "status"))
    assert report.verdicts["P17"] is Verdict.PASS
    assert report.history.standings["shop"].healthy


def test_a_service_that_is_killed_starts_with_what_its_disk_has() -> None:
    killed = replace(SHOP, keeps=True, restarts=(5.0,))
    report = run_plan(replace(PLAN, services=(killed,)))
    assert report.violations == []
    assert report.history.standings["shop"].life == 2
    assert next(text for at_s, text in told(report, "follows") if at_s > 5.0).endswith("of disk")


def test_one_without_a_disk_starts_with_nothing() -> None:
    report = run_plan(replace(PLAN, services=(replace(SHOP, restarts=(5.0,)),)))
    assert next(text for at_s, text in told(report, "follows") if at_s > 5.0).endswith("of eu-1")


def test_a_service_that_polls_has_it_too() -> None:
    report = run_plan(replace(PLAN, services=(replace(SHOP, polls=True),)))
    assert report.violations == []
    assert "soft-03" in report.history.standings["shop"].flag_set.flags


def test_a_crowd_that_loses_its_node_is_spread_and_the_checker_sees_it() -> None:
    crowd = tuple(replace(SHOP, name=f"crowd-{n}") for n in range(24))
    report = run_plan(replace(PLAN, services=crowd, faults=(replace(CRASH, at_s=1.0),)))
    assert report.violations == []
    assert report.verdicts["P18"] is Verdict.PASS


def test_a_service_that_leaves_is_judged_no_more() -> None:
    report = run_plan(replace(PLAN, services=(replace(SHOP, leaves_s=4.0),)))
    assert report.violations == []
    assert report.history.standings == {}
    assert max(at_s for at_s, _ in told(report, "follows")) < 4.0


def test_a_run_with_services_repeats_itself() -> None:
    found = replace(PLAN, faults=(CRASH,), services=(replace(SHOP, keeps=True, restarts=(5.0,)),))
    assert run_plan(found).trace_hash == run_plan(found).trace_hash


# -- plans


def test_services_have_a_stream_of_their_own_and_are_few_but_for_crowds() -> None:
    plans = [plan(seed) for seed in range(400)]
    counts = Counter(len(each.services) for each in plans)
    assert 1 - counts[0] / len(plans) == pytest.approx(SERVED, abs=0.06)
    assert counts.keys() == {0, 1, 2, 3, CROWD_SERVICES}
    assert not any(map(flaw_of, plans))


def test_an_artefact_from_before_there_were_services_is_read_and_one_with_them_too() -> None:
    old = Artefact(replace(PLAN, services=()))
    assert b"services" not in encode(old)
    assert decode(encode(old)) == old
    assert decode(encode(Artefact(PLAN))) == Artefact(PLAN)


@pytest.mark.parametrize(
    ("service", "flaw"),
    [
        (replace(SHOP, region="moon"), "no such region"),
        (replace(SHOP, environment="moon"), "no such environment"),
        (replace(SHOP, urls=()), "0 nodes"),
        (replace(SHOP, urls=("eu-9",)), "no such node"),
        (replace(SHOP, restarts=(2.0, 1.0)), "not in order"),
        (replace(SHOP, restarts=(-1.0,)), "negative"),
        (replace(SHOP, name="ann"), "there twice"),
        (replace(SHOP, name="a\n"), "no name"),
    ],
)
def test_a_plan_with_a_service_that_cannot_be_is_refused(service: Service, flaw: str) -> None:
    assert flaw in flaw_of(replace(PLAN, services=(service,)))


def test_a_plan_with_too_many_services_is_refused() -> None:
    crowd = tuple(replace(SHOP, name=f"s{n}") for n in range(CLIENTS_MAX + 1))
    assert "services are too many" in flaw_of(replace(PLAN, services=crowd))


def test_services_go_where_a_failure_does_not_need_them() -> None:
    crowd = tuple(replace(SHOP, name=f"s{n}") for n in range(5))
    found = shrink(
        replace(PLAN, services=crowd),
        lambda tried: "P6" if any(service.name == "s3" for service in tried.services) else None,
    )
    assert [service.name for service in found.plan.services] == ["s3"]
    assert found.plan.nodes == ("eu-1",)
    assert flaw_of(found.plan) == ""


def test_a_region_that_goes_takes_its_services_or_sends_them_on() -> None:
    both = replace(PLAN, services=(SHOP, replace(SHOP, name="far", region="us", urls=("us-1", "eu-1"))))
    gone, moved = smaller.without_region(both, "us")
    assert [(s.name, s.urls) for s in gone.services] == [("shop", ("eu-1", "eu-2"))]
    assert [(s.name, s.region, s.urls) for s in moved.services][1] == ("far", "eu", ("eu-1",))
