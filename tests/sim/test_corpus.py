"""Every run that ever failed by a mistake of ours, and was mended, holds: `corpus/` has one artefact for each.

A new one is a copy of what `vexil chaos sim` has written, under a name that says what was wrong; it goes in together
with what mends it, and into `deploy/docs/found-by-simulation.md`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from vexil.chaos.planted.planting import find
from vexil.chaos.reports.artefact import Artefact, read, write
from vexil.chaos.reports.replay import artefact_of, replay
from vexil.chaos.run.simulation import simulate

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))
BUG = "14-gap-skipped"


def flaw_of(artefact: Artefact) -> str:
    """Why it cannot be in the corpus, or what is wrong again."""
    if artefact.planted:
        return f"it was made under {artefact.planted}: that it fails is as it should be"
    if not artefact.invariant:
        return "it does not say what it violated"
    return "\n".join(map(str, replay(artefact).report.violations))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_has_failed_once_holds(path: Path) -> None:
    flaw = flaw_of(read(path))
    assert not flaw, f"\n{path.name}: {flaw}\nrepeat: vexil chaos replay {path}"


def test_an_entry_that_fails_again_is_noticed(tmp_path: Path) -> None:
    with find(BUG).apply():
        report = simulate(0)
        assert report.violations
        write(tmp_path / "entry.json", artefact_of(report))
        entry = read(tmp_path / "entry.json")
        assert report.violations[0].detail in flaw_of(entry)
    assert not flaw_of(entry)


def test_a_run_under_a_planted_bug_and_one_that_never_failed_are_no_entries() -> None:
    report = simulate(1)
    assert "14-gap-skipped" in flaw_of(artefact_of(report, planted=BUG))
    assert "does not say" in flaw_of(artefact_of(report))
