"""What a run keeps of itself is bounded; what is judged by, the hash and the first violations, is all there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.sim.made_up_history import MadeUp
from vexil.chaos.cli import chaos
from vexil.chaos.reports.artefact import write
from vexil.chaos.reports.narrative import Weight, lines_of
from vexil.chaos.reports.replay import artefact_of
from vexil.chaos.run import history
from vexil.chaos.run.history import History
from vexil.chaos.run.simulation import simulate
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
    assert (kept.left_out, Trace().left_out) == (2, 0)
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


def test_a_timeline_that_was_cut_says_so_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EVENTS_KEPT_MAX", 2)
    made = MadeUp("eu-1")
    for n in range(4):
        made.history.tell("eu-1", "looks", f"number {n}")
    told = [line.text for line in lines_of(made.report) if line.weight is not Weight.FAULT]
    assert told[-2:] == ["looks: number 1", "2 more such events up to the end of the run: no more are kept"]
    monkeypatch.undo()
    whole = MadeUp("eu-1")
    whole.history.tell("eu-1", "looks", "number 0")
    assert not any("no more" in line.text for line in lines_of(whole.report))


def test_a_trace_that_was_cut_says_so_in_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = simulate(1, keep_trace=True)
    write(tmp_path / "run.json", artefact_of(report))
    arguments = ["replay", str(tmp_path / "run.json"), "--trace", str(tmp_path / "trace")]
    monkeypatch.setattr(trace, "LINES_KEPT_MAX", 3)
    assert CliRunner().invoke(chaos, arguments).exit_code == 0
    *kept, last = (tmp_path / "trace").read_text(encoding="utf-8").splitlines(keepends=True)
    assert kept == report.trace[:3]
    assert last == f"{len(report.trace) - 3:,} more events: no more are kept\n"


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
