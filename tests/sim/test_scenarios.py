"""Histories of gossip that a person can read: every file of ``scenarios/`` is one test."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.sim.language import Scenario, Unmet
from vexil.chaos.world.determinism import run_deterministically
from vexil.chaos.world.tripwires import tripwires

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))
VIRTUAL_LIMIT_S = 600


def play(text: str, *, seed: int = 1) -> None:
    async def main() -> None:
        with ExitStack() as patches, tripwires():
            async with trio.open_nursery() as nursery:
                with trio.fail_after(VIRTUAL_LIMIT_S):
                    await Scenario(nursery, patches, seed=seed).run(text)
                nursery.cancel_scope.cancel()

    try:
        run_deterministically(seed, main)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    play(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("seed", range(2, 12))
def test_copies_of_a_machine_part_whatever_the_order_of_events(seed: int) -> None:
    path = next(path for path in SCENARIOS if path.stem == "clone")
    play(path.read_text(encoding="utf-8"), seed=seed)


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 10


def test_an_expectation_that_does_not_hold_fails_and_names_its_line() -> None:
    with pytest.raises(Unmet, match="line 2"):
        play("nodes eu-1\nexpect f wrong at eu-1")


def test_a_line_that_is_not_of_the_language_fails() -> None:
    with pytest.raises(ValueError, match="line 1"):
        play("make it so")
