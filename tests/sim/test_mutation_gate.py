"""The gate: what is a catch and what is not, in which order seeds are tried, and what is said when time is up."""

from __future__ import annotations

import itertools
import signal
from dataclasses import replace
from typing import Any

import pytest

from vexil.chaos.campaign.mutation_gate import Finding, Judgement, State, Subject, Tasks, Trial, order_of, run

FAKE = "tests.sim.fake_tasks:"
TASKS = Tasks(f"{FAKE}mutated_soundly", f"{FAKE}history")


def judged(*names: str, **settings: Any) -> Judgement:
    subjects = [Subject(name) for name in names]
    return run(Trial(subjects, **{"seeds": 20, "jobs": 2, "tasks": TASKS, **settings}), lambda _: None)


def only(judgement: Judgement) -> Finding:
    (finding,) = judgement.findings
    return finding


def test_a_mutant_is_left_at_its_first_catch() -> None:
    judgement = judged("easy", "rare")
    easy, rare = judgement.findings
    assert (easy.state, easy.by, easy.seed, easy.tried) == (State.BY_SEED, "P5", 2, 3)
    assert (rare.state, rare.by, rare.seed, rare.tried) == (State.BY_SEED, "P5", 11, 12)
    assert judgement.passed
    assert judgement.caught_by_seeds == 2
    assert judgement.median_seeds == 7.5


def test_what_no_seed_catches_is_missed_and_the_gate_fails() -> None:
    judgement = judged("easy", "invisible")
    missed = judgement.findings[1]
    assert (missed.state, missed.tried) == (State.MISSED, 20)
    assert not judgement.passed


def test_what_no_seed_catches_is_tried_with_its_history() -> None:
    judgement = judged("history", histories="told")
    assert only(judgement).state is State.BY_HISTORY
    assert (only(judgement).tried, only(judgement).cut_short) == (20, False)
    assert judgement.passed
    assert judgement.median_seeds is None
    assert only(judged("history")).state is State.MISSED


def test_a_history_that_fails_without_its_bug_proves_nothing() -> None:
    found = only(judged("crooked", histories="told"))
    assert found.state is State.BROKEN
    assert "fails without it" in found.detail


def test_a_seed_that_fails_without_the_bug_is_no_catch() -> None:
    judgement = judged("easy", tasks=replace(TASKS, run=f"{FAKE}mutated"))
    assert (only(judgement).seed, only(judgement).tried) == (2, 3)
    assert list(judgement.unsound) == [1]
    assert not judgement.passed


def test_a_bug_that_cannot_be_planted_is_not_taken_for_caught() -> None:
    judgement = judged("unplantable", histories="told")
    assert only(judgement).state is State.BROKEN
    assert "nothing any more to patch" in only(judgement).detail
    assert not judgement.passed


def test_what_was_not_tried_when_time_is_up_is_said() -> None:
    judgement = judged("endless", "history", histories="told", jobs=1, minutes=0.15)
    endless, history = judgement.findings
    assert (endless.state, endless.tried, endless.cut_short) == (State.NOT_TRIED, 0, True)
    assert history.state in {State.BY_HISTORY, State.NOT_TRIED}
    assert not judgement.passed


def test_ctrl_c_ends_it_with_what_is_known() -> None:
    told: list[Finding] = []

    def tell(finding: Finding) -> None:
        told.append(finding)
        if finding.subject.name == "easy":
            signal.raise_signal(signal.SIGINT)

    subjects = [Subject("easy"), Subject("endless")]
    judgement = run(Trial(subjects, jobs=2, tasks=TASKS), tell)
    assert judgement.interrupted
    assert [finding.state for finding in judgement.findings] == [State.BY_SEED, State.NOT_TRIED]
    assert not judgement.passed


def test_what_should_have_noticed_it_is_compared_with_what_did() -> None:
    subjects = [Subject("easy", frozenset({"P5"})), Subject("rare", frozenset({"P2"}))]
    judgement = run(Trial(subjects, seeds=20, jobs=1, tasks=TASKS), lambda _: None)
    assert [finding.expected for finding in judgement.findings] == [True, False]


@pytest.mark.parametrize(
    ("profiles", "order"),
    [
        (frozenset(), [0, 1, 2, 3, 4, 5]),
        (frozenset({"garbage"}), [1, 4, 0, 2, 3, 5]),
        (frozenset({"garbage", "clocks"}), [1, 2, 4, 5, 0, 3]),
    ],
)
def test_seeds_of_the_profiles_that_matter_come_first_and_none_is_left_out(
    profiles: frozenset[str], order: list[int]
) -> None:
    kinds = itertools.cycle(["mixed", "garbage", "clocks"])
    known = dict(enumerate(itertools.islice(kinds, 6)))
    trial = Trial([], seeds=6, profile_of=known.__getitem__)
    assert order_of(Subject("any", profiles=profiles), trial) == order
