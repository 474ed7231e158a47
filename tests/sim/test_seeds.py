"""Two hundred worlds: clusters under what their seeds have drawn, checked while they run and after they have healed.

Several seeds make one test, so that processes which share the tests are busy to the end; a failing one prints the line
that repeats it.
"""

from __future__ import annotations

import pytest

from vexil.chaos.run.simulation import simulate

SEEDS = 200
SEEDS_PER_TEST = 4


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_nothing_is_violated_in_the_seeds_from(first: int) -> None:
    reports = [simulate(seed) for seed in range(first, first + SEEDS_PER_TEST)]
    failed = [
        f"{report}\nrepeat: vexil chaos sim --seeds {report.plan.seed}"
        for report in reports
        if report.violations
    ]
    assert not failed, "\n" + "\n\n".join(failed)
    assert any(report.acknowledged for report in reports)
