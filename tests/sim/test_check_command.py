"""``vexil chaos check`` tries something or says that it has not: nothing that was tried is no success."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from vexil.chaos.campaign.mutation_gate import Finding, Judgement, State, Subject
from vexil.chaos.cli import chaos
from vexil.chaos.cli.planted_trial import _verdict
from vexil.chaos.planted.catalogue import BENIGN, PLANTED

BUG, REFACTOR = str(PLANTED[0]), str(BENIGN[0])


@pytest.mark.parametrize(
    ("options", "only", "empty"),
    [
        (["--planted"], REFACTOR, "--planted"),
        (["--benign"], BUG, "--benign"),
        (["--planted", "--benign"], BUG, "--benign"),
    ],
)
def test_a_selection_in_which_nothing_is_left_is_a_mistake_of_usage(
    options: list[str], only: str, empty: str
) -> None:
    found = CliRunner().invoke(chaos, ["check", *options, "--only", only])
    assert found.exit_code == 2
    assert f"leaves nothing for {empty}" in found.output


def test_what_only_a_history_caught_counts_as_caught_and_not_for_the_median() -> None:
    by_seed = Finding(Subject("a bug"), State.BY_SEED, tried=3)
    by_history = Finding(Subject("a rare bug"), State.BY_HISTORY, tried=60)
    judgement = Judgement([by_seed, by_history], {}, 1.0)
    assert judgement.passed
    said = _verdict(judgement)
    assert "caught by seeds: 1 of 2" in said
    assert "1 caught by its history only, which counts as caught" in said
    assert "median seeds to a catch, of those caught by seeds: 3" in said
