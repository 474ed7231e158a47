"""Fifty whole histories: clusters under cuts, crashes, restarts, skewed clocks, loss, full disks and store outages.

Each is checked while it runs and after it has healed; a failing one prints the line that repeats it.
"""

from __future__ import annotations

import pytest

from tests.sim.oracle_judge import OracleJudge
from vexil.chaos.simulation import simulate

SEEDS = 50


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_invariant_holds_in_the_history_of(seed: int) -> None:
    judge = OracleJudge()
    report = simulate(seed, judges=[judge])
    assert not report.violations, f"\n{report}\nrepeat: pytest 'tests/sim/test_seeds.py' -k '[{seed}]'"
    assert judge.judged
    assert report.acknowledged
