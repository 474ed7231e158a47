"""The harness itself under test: every planted bug is caught, by a seed or by the history written for it.

How many seeds each takes is told by `vexil chaos check --planted`.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.sim.directed_histories import HISTORIES, OF_BUGS, History, play_scenario
from tests.sim.language import Unmet
from vexil.chaos.campaign.mutation_gate import SEEDS, Subject, Trial, order_of
from vexil.chaos.planted.catalogue import LATER, PLANTED
from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.run.simulation import simulate
from vexil.chaos.run.swarm import plan

KNOWN_FAILURES: Final = range(1, 37)
"""The numbers of the catalogue of what has broken systems like this one."""
SEEDED: Final = [bug for bug in PLANTED if str(bug) not in HISTORIES]
PLAYED: Final = [bug for bug in PLANTED if bug.history]
TOLD: Final = [(bug, history) for bug in PLANTED for history in OF_BUGS.get(bug.number, ())]


def name_of(value: object) -> str:
    return value.__name__ if callable(value) and hasattr(value, "__name__") else str(value)


@pytest.mark.parametrize("bug", SEEDED, ids=str)
def test_a_planted_bug_is_caught_by_a_seed(bug: PlantedBug) -> None:
    subject = Subject(str(bug), bug.invariants, bug.profiles)
    for seed in order_of(subject, Trial((subject,), seeds=SEEDS, profile_of=lambda seed: plan(seed).profile)):
        with bug.apply():
            violations = simulate(seed).violations
        # Which invariant is the first to notice it depends on the seed: the mutation gate tells it.
        if violations and not simulate(seed).violations:
            return
    pytest.fail(f"{bug} was not noticed in {SEEDS} seeds")


@pytest.mark.parametrize("bug", PLAYED, ids=str)
def test_a_planted_bug_fails_its_scenario(bug: PlantedBug) -> None:
    with bug.apply(), pytest.raises(Unmet):
        play_scenario(bug.history)


@pytest.mark.parametrize("history", [history for _, history in TOLD], ids=name_of)
def test_without_its_bug_a_history_holds(history: History) -> None:
    history()


@pytest.mark.parametrize(("bug", "history"), TOLD, ids=name_of)
def test_a_planted_bug_fails_its_history(bug: PlantedBug, history: History) -> None:
    with bug.apply(), pytest.raises(AssertionError):
        history()


def test_every_known_failure_is_planted_or_comes_with_what_it_needs() -> None:
    planted = {bug.number for bug in PLANTED}
    assert planted | LATER.keys() == set(KNOWN_FAILURES)
    assert not planted & LATER.keys()


def test_a_planted_bug_is_gone_afterwards() -> None:
    for bug in PLANTED:
        with bug.apply():
            pass
    for _, history in TOLD:
        history()
    assert not simulate(0).violations
