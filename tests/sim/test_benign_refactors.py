"""The harness itself under test: what changes no behaviour is no violation, however differently it is done.

Many seeds are for `vexil chaos check --benign`; here each refactor shows that it is at work, and that runs stay clean.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import pytest

from vexil.chaos.planted.benign_refactor import Benign
from vexil.chaos.planted.catalogue import BENIGN
from vexil.chaos.run.simulation import Report, simulate

SEED: Final = 0
SEEDS_TO_MOVE: Final = 40
"""Within so many every refactor that can be told from a trace has been: most in the first one."""


def test_there_are_refactors() -> None:
    assert len(BENIGN) >= 14


@pytest.mark.parametrize("refactor", [b for b in BENIGN if b.trace == "other"], ids=str)
def test_a_refactor_moves_what_happens_and_violates_nothing(refactor: Benign) -> None:
    assert any(run(seed, refactor).trace_hash != plain(seed) for seed in range(SEEDS_TO_MOVE)), (
        "it changes nothing at all: perhaps what it patches is not used any more"
    )


@pytest.mark.parametrize("refactor", [b for b in BENIGN if b.trace == "same"], ids=str)
def test_a_refactor_that_only_computes_leaves_the_same_trace(refactor: Benign) -> None:
    assert run(SEED, refactor).trace_hash == plain(SEED)


@pytest.mark.parametrize("refactor", [b for b in BENIGN if b.trace == "either"], ids=str)
def test_a_refactor_that_hardly_anything_can_tell_violates_nothing(refactor: Benign) -> None:
    run(SEED, refactor)


def run(seed: int, refactor: Benign) -> Report:
    with refactor.apply():
        report = simulate(seed)
    assert not report.violations, f"under {refactor}: {report}"
    return report


@cache
def plain(seed: int) -> str:
    return simulate(seed).trace_hash
