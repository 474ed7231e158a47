"""What a run keeps of itself is bounded; what is judged by, the hash and the first violations, is all there."""

from __future__ import annotations

import random

import pytest

from vexil.chaos.run import history
from vexil.chaos.run.history import History
from vexil.chaos.world import simulated_store, trace
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.chaos.world.trace import Trace


async def test_lines_beyond_the_bound_are_hashed_and_counted_and_not_kept(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "LINES_KEPT_MAX", 3)
    kept, other = Trace(keep=True), Trace(keep=True)
    for n in range(5):
        kept.add("event", n)
        other.add("event", n)
    assert kept.lines == [f"0.000000000 event {n}\n" for n in range(3)]
    assert kept.events == 5
    assert kept.hexdigest() == other.hexdigest()
    kept.add("event", 5)
    other.add("event", 6)
    assert kept.lines == other.lines
    assert kept.hexdigest() != other.hexdigest()


def test_the_first_violations_are_kept_and_every_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "VIOLATIONS_KEPT_MAX", 2)
    told: list[None] = []
    run = History(lambda: 1.5, on_violation=lambda: told.append(None))
    for n in range(5):
        run.violate("I1", f"number {n}")
    assert [violation.detail for violation in run.violations] == ["number 0", "number 1"]
    assert len(told) == 5


def test_of_too_many_late_writes_the_oldest_land(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_store, "GHOSTS_MAX", 2)
    landed: list[int] = []
    region = SimulatedRegion(random.Random(1))
    region.delay([lambda n=n: landed.append(n) for n in range(3)])  # type: ignore[misc]  # a default binds each n
    assert landed == [0]
    region.delay([lambda: landed.append(3)])
    assert landed == [0, 1]
    region.land_ghosts()
    assert sorted(landed) == [0, 1, 2, 3]
