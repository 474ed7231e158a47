"""Many seeds over several processes: every one has an outcome, in order, whatever becomes of its process."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sim import fake_tasks
from vexil.chaos.campaign.campaign import Campaign, Ended, Outcome, Tasks, run
from vexil.chaos.campaign.summary import NOT_ENDED, Tally
from vexil.chaos.cli import results
from vexil.chaos.reports.coverage import coverage

FAKE = "tests.sim.fake_tasks:"
TASKS = Tasks(f"{FAKE}run", f"{FAKE}trace", f"{FAKE}keep", f"{FAKE}make_smaller")
HANG_S = 3.0
"""Wall time after which a run of these tests counts as hanging."""


def campaign(seeds: Iterable[int], **settings: Any) -> Campaign:
    return Campaign(seeds, **{"jobs": 2, "tasks": TASKS, "resampled_one_in": 1_000, **settings})


def outcomes(wanted: Campaign) -> tuple[list[Outcome], Ended]:
    told: list[Outcome] = []
    ended = run(wanted, lambda outcome, _: told.append(outcome))
    return told, ended


def test_what_every_seed_did_is_told_in_order_and_summed_up() -> None:
    told, ended = outcomes(campaign([fake_tasks.PASSES, fake_tasks.UNKNOWN, fake_tasks.FAILS, *range(8, 40)]))
    assert [outcome.summary.seed for outcome in told] == [0, 1, 2, *range(8, 40)]
    tally = ended.tally
    assert dict(tally.runs) == {"pass": 33, "unknown": 1, "fail": 1}
    assert dict(tally.invariants["P5"]) == {"unknown": 34, "fail": 1}
    assert dict(tally.unknown_because) == {"cut never struck": 1}
    assert tally.struck["cut", "call pull"] == 35
    assert (tally.writes, tally.acknowledged) == (105, 70)
    assert tally.virtual_s == 35 * fake_tasks.VIRTUAL_S
    assert not ended.interrupted
    assert ended.seeds_per_minute == pytest.approx(60 * 35 / ended.wall_s)


def test_a_process_that_dies_is_a_failed_seed_with_its_last_words() -> None:
    told, ended = outcomes(campaign([fake_tasks.DIES, 8, 9]))
    first, *others = [outcome.summary for outcome in told]
    assert first.failed
    assert first.invariant == NOT_ENDED
    assert first.violations == ("its process died (exit code 7): the last words",)
    assert [summary.verdict for summary in others] == ["pass", "pass"]
    assert ended.tally.failed == 1


def test_a_process_that_hangs_is_a_failed_seed() -> None:
    told, _ = outcomes(campaign([fake_tasks.HANGS, 8, 9], seed_wall_s=HANG_S))
    assert told[0].summary.failed
    assert told[0].summary.violations == ("no end within 3 s of wall time",)
    assert [outcome.summary.verdict for outcome in told[1:]] == ["pass", "pass"]


def test_a_run_that_raises_is_a_failed_seed_with_its_traceback() -> None:
    told, _ = outcomes(campaign([fake_tasks.RAISES, 8]))
    assert told[0].summary.invariant == NOT_ENDED
    assert "ValueError: not on this day" in told[0].summary.violations[0]
    assert "fake_tasks.py" in told[0].summary.violations[0]


def test_what_a_run_prints_is_not_taken_for_its_answer() -> None:
    told, _ = outcomes(campaign([fake_tasks.NOISY], jobs=1))
    assert told[0].summary.verdict == "pass"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Where two processes meet."""
    made = tmp_path / "meeting"
    os.mkfifo(made)
    return made


def test_a_seed_that_is_done_waits_for_those_before_it(pipe: Path) -> None:
    tasks = replace(TASKS, run=f"{FAKE}first_waits_for_another")
    told, _ = outcomes(campaign(range(4), tasks=tasks, planted=lambda _: f"1 {pipe}"))
    assert [outcome.summary.seed for outcome in told] == [0, 1, 2, 3]


def test_what_waits_for_its_turn_is_bounded(pipe: Path) -> None:
    begun: list[int] = []
    begun_when_first_was_told: list[int] = []

    def seeds() -> Iterator[int]:
        for seed in range(30):
            begun.append(seed)
            yield seed

    def tell(outcome: Outcome, _: Tally) -> None:
        if outcome.summary.seed == 0:
            begun_when_first_was_told.append(len(begun))

    tasks = replace(TASKS, run=f"{FAKE}first_waits_for_another")
    ended = run(campaign(seeds(), tasks=tasks, planted=lambda _: f"4 {pipe}", window=5), tell)
    assert begun_when_first_was_told == [5]
    assert ended.tally.seeds == 30


def test_a_sample_is_run_again_in_a_process_that_hashes_differently() -> None:
    told, ended = outcomes(campaign([fake_tasks.UNREPEATABLE, 8, 14], resampled_one_in=7))
    first, second, third = [outcome.summary for outcome in told]
    assert first.failed
    assert first.invariant == "P16"
    (parted,) = first.violations
    assert parted.startswith("P16: the traces end with")
    assert "PYTHONHASHSEED" in parted
    assert second.verdicts["P16"] == "unknown"
    assert third.verdicts["P16"] == "pass"
    assert dict(ended.tally.invariants["P16"]) == {"fail": 1, "unknown": 1, "pass": 1}


def test_a_failing_run_is_kept_and_made_smaller(tmp_path: Path) -> None:
    told, _ = outcomes(campaign([8, fake_tasks.FAILS], artefacts=tmp_path))
    assert told[0].kept is None
    kept = told[1].kept
    assert kept is not None
    assert Path(kept.artefact).read_text() == "judged"
    assert kept.size == "small"


def test_a_failing_run_is_kept_as_it_is_if_that_is_wanted(tmp_path: Path) -> None:
    told, _ = outcomes(campaign([fake_tasks.FAILS], artefacts=tmp_path, shrink=False))
    assert told[0].kept is not None
    assert told[0].kept.size == "large"


def test_the_plan_of_a_run_that_does_not_end_is_kept(tmp_path: Path) -> None:
    told, _ = outcomes(campaign([fake_tasks.DIES], artefacts=tmp_path))
    assert told[0].kept is not None
    assert Path(told[0].kept.artefact).read_text() == "its plan alone"
    assert told[0].kept.size == "large"


def test_a_run_that_cannot_be_made_smaller_is_told_of_all_the_same(tmp_path: Path) -> None:
    tasks = replace(TASKS, shrink=f"{FAKE}there_is_none")
    told, _ = outcomes(campaign([fake_tasks.FAILS], artefacts=tmp_path, tasks=tasks))
    assert told[0].kept is not None
    assert told[0].kept.size == "large"
    assert told[0].trouble.startswith("not made smaller: it raised")


def test_no_seed_is_begun_when_time_is_up() -> None:
    _, ended = outcomes(campaign(itertools.count(8), minutes=0.02))
    assert ended.tally.seeds
    assert not ended.interrupted


def test_ctrl_c_ends_it_with_what_is_known() -> None:
    told: list[int] = []

    def tell(outcome: Outcome, _: Tally) -> None:
        told.append(outcome.summary.seed)
        if outcome.summary.seed == 2:
            signal.raise_signal(signal.SIGINT)

    ended = run(campaign(itertools.chain([0, 1, fake_tasks.FAILS], itertools.count(8))), tell)
    assert ended.interrupted
    assert ended.tally.failed == 1
    assert told == sorted(told)
    assert ended.tally.seeds == len(told)


def test_ctrl_c_while_a_run_is_made_smaller_does_not_hide_that_it_failed(tmp_path: Path) -> None:
    def seeds() -> Iterator[int]:
        yield fake_tasks.FAILS
        for seed in itertools.count(8):
            if (tmp_path / "2.json.begun").exists():
                signal.raise_signal(signal.SIGINT)
            yield seed

    tasks = replace(TASKS, shrink=f"{FAKE}never_smaller")
    told, ended = outcomes(campaign(seeds(), tasks=tasks, artefacts=tmp_path, window=1_000_000))
    assert ended.interrupted
    assert ended.tally.failed == 1
    assert told[0].kept is not None


def test_everything_that_was_summed_up_is_shown() -> None:
    _, ended = outcomes(campaign([0, 1, 2, 8]))
    shown = "\n\n".join(results.sections(ended, jobs=2, coverage=True))
    assert results.sentence(ended.tally) == "4 run, 2 passed, 1 failed, 1 unknown"
    assert "  1: cut never struck" in shown
    assert re.search(r"^P5 +0 +1 +3$", shown, re.MULTILINE)
    assert re.search(r"^call pull( +\.)* +4( +\.)*$", shown, re.MULTILINE)
    assert re.search(r"seeds a minute, \d+ simulated seconds a second \(\d+ s with 2 processes\)$", shown)
    document = results.plain(ended, jobs=2)
    assert document["coverage"]["cut"] == {"call pull": 4}
    assert json.loads(json.dumps(document)) == document


def test_the_coverage_table_names_what_no_fault_has_met() -> None:
    _, ended = outcomes(campaign([0, 8]))
    found = coverage(ended.tally.struck, ended.tally.fired, ["crash", "cut"])
    assert found.plain() == {"crash": {}, "cut": {"call pull": 2}}
    assert found.met == 1
    assert "call pull" not in found.never
    assert "call push" in found.never
    assert ["call pull", ".", 2] in found.rows
    assert found.rows[-1] == ["(struck in all)", 0, 2]
