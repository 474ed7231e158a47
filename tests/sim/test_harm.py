"""What faults have really done, and checkers excuse by: disks that were destroyed, registrations that ended, alarms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.test_faults import drawn, fault, run, writes
from vexil.chaos.faults.fault import KINDS
from vexil.chaos.run.plan import Fault


def test_of_a_copied_folder_only_the_copy_is_destroyed_and_of_an_old_copy_what_was_there() -> None:
    twin = Fault(1, "clone", 1.0, ("eu-2", "eu-55"), lasts_s=2.0)
    old = Fault(2, "disk_old_copy", 1.0, ("us-1",), lasts_s=4.0)
    found = run(twin, old).history.destructions
    assert [(each.slot, each.member) for each in found] == [("eu-55", "eu-2"), ("us-1", "us-1")]


def test_an_old_copy_that_is_not_put_back_destroys_nothing() -> None:
    """Its slot has come back under another registration meanwhile."""
    old = Fault(1, "disk_old_copy", 1.0, ("us-1",), lasts_s=6.5)
    evicted = Fault(2, "evict", 2.0, ("us-1",), lasts_s=1.0)
    history = run(old, evicted, embedded=False).history
    assert (history.fired["disk_old_copy"], history.fired["evict"]) == (1, 1)
    assert history.destructions == []
    assert {each.kind for each in history.harm} == {"evict"}


def test_a_registration_that_was_evicted_has_ended_and_no_other_one_has() -> None:
    evicted = Fault(1, "evict", 2.0, ("us-1",), lasts_s=2.0)
    history = run(evicted, wanted=writes(*["us", "eu"] * 12)).history
    ((slot, registration),) = history.ended
    first, *later = [life for life in history.lives if life.slot == slot]
    assert (slot, registration) == ("us-1", first.registration)
    assert later
    assert all(life.registration not in {"", registration} for life in later)
    over = {life.incarnation for life in history.lives if history.registration_ended_s((life.incarnation, 1))}
    assert over == {first.incarnation}


def test_a_registration_that_was_evicted_has_ended_even_if_nobody_comes_back_from_it() -> None:
    evicted = Fault(1, "evict", 2.0, ("us-1",), lasts_s=20.0)
    history = run(evicted, Fault(2, "disk_lost", 4.0, ("us-1",)), wanted=writes(*["us", "eu"] * 4)).history
    assert history.fired["disk_lost"]
    first = next(life for life in history.lives if life.slot == "us-1")
    assert history.ended.keys() == {("us-1", first.registration)}


def test_the_registration_of_an_evicted_member_has_ended_for_its_copy_too() -> None:
    twin = Fault(1, "clone", 1.0, ("us-1", "us-55"), lasts_s=5.0)
    history = run(twin, Fault(2, "evict", 3.0, ("us-1",), lasts_s=1.0)).history
    assert history.fired["evict"]
    copied = next(life for life in history.lives if life.slot == "us-55")
    assert ("us-55", copied.registration) in history.ended


@pytest.mark.parametrize("name", sorted(name for name, kind in KINDS.items() if kind.alarms))
def test_a_kind_explains_alarms_only_when_its_harm_is_done(name: str) -> None:
    report = run(fault(name, drawn(name)), wanted=writes(*["us", "eu"] * 12))
    assert report.history.fired[name]
    assert {each.kind for each in report.history.harm} == {name}
    never = run(replace(fault(name, drawn(name)), places=tuple("nowhere" for _ in drawn(name).places)))
    assert never.history.harm == []
