"""The harness itself under test: every planted bug is caught, by a seed or by the scenario written for it.

The seeds are those of `test_seeds`, which are clean without the bug.
"""

from __future__ import annotations

import pytest

from tests.sim.oracle_judge import OracleJudge
from tests.sim.scenario_language import Unmet
from tests.sim.test_scenarios import SCENARIOS, play
from tests.sim.test_seeds import SEEDS
from vexil.chaos.planted.catalogue import DIRECTED, PLANTED
from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.simulation import simulate


@pytest.mark.parametrize("bug", PLANTED, ids=str)
def test_a_planted_bug_is_caught_by_its_invariant(bug: PlantedBug) -> None:
    for seed in range(SEEDS):
        # A bug that a live check must find is not left to the graph, which sees more.
        judges = [OracleJudge()] if "P13" in bug.invariants else []
        with bug.apply():
            report = simulate(seed, judges=judges)
        if report.violations:
            assert report.violations[0].invariant in bug.invariants, str(report)
            return
    pytest.fail(f"{bug} was not noticed in {SEEDS} seeds")


@pytest.mark.parametrize(("bug", "scenario"), DIRECTED, ids=str)
def test_a_planted_bug_fails_its_scenario(bug: PlantedBug, scenario: str) -> None:
    path = next(path for path in SCENARIOS if path.stem == scenario)
    with bug.apply(), pytest.raises(Unmet):
        play(path.read_text(encoding="utf-8"))


def test_a_planted_bug_is_gone_afterwards() -> None:
    for bug in (*PLANTED, *(bug for bug, _ in DIRECTED)):
        with bug.apply():
            pass
    assert not simulate(0, judges=[OracleJudge()]).violations
