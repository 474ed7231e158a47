"""``vexil chaos`` as it is typed: a few seeds, a planted bug that is found, made small and replayed, the gate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.e2e.terminal import Terminal
from vexil.chaos.cli import chaos
from vexil.chaos.cli.seeds import SEEDS_MAX, Seeds, SeedsType
from vexil.node.cli.plugins import ENTRY_POINTS, load

ROOT = Path(__file__).parents[2]
CHAOS = (sys.executable, "-m", "vexil.chaos.cli")
RUN_S = 150
BUG = "14-gap-skipped"
"""Every seed shows it."""


def vexil_chaos(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CHAOS, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(chaos, list(arguments))


def test_the_command_line_finds_it_by_its_entry_point() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (name, value), *others = document["project"]["entry-points"][ENTRY_POINTS].items()
    assert (name, others) == ("chaos", [])
    assert load(EntryPoint(name, value, ENTRY_POINTS)) is chaos


def test_seeds_that_hold_are_counted_and_measured(tmp_path: Path) -> None:
    done = vexil_chaos("sim", "--seeds", "0..2", "--jobs", "2", "--coverage", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["seeds"] == document["pass"] + document["unknown"] == 3
    assert document["failures"] == []
    assert document["invariants"]["P2"] == {"pass": 3, "fail": 0, "unknown": 0}
    # Seed 0 is of the sample that runs in another process too.
    assert document["invariants"]["P16"] == {"pass": 1, "fail": 0, "unknown": 2}
    assert document["seeds_per_minute"] > 0
    assert document["simulated_s_per_s"] > 0
    assert document["coverage"]
    assert list(tmp_path.iterdir()) == []


def test_a_planted_bug_is_found_made_small_and_replayed(tmp_path: Path) -> None:
    run = vexil_chaos("sim", "--seeds", "0", "--jobs", "1", "--planted", BUG, folder=tmp_path)
    assert run.returncode == 1, run.stdout + run.stderr
    first = run.stdout.splitlines()[0]
    assert first.startswith("seed 0: P")
    repeat = "vexil chaos "
    command = first.partition(f"repeat: {repeat}")[2].partition(" | ")[0].split()
    again = vexil_chaos(*command, "--html", "page.html", "--trace", "events.txt", folder=tmp_path)
    assert again.returncode == 1, again.stdout + again.stderr
    assert again.stdout.rstrip().endswith(f"as it was; every event was the same (planted: {BUG})")
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (tmp_path / "events.txt").read_text(encoding="utf-8")
    kept = tmp_path / "chaos-artefacts" / f"seed-0-{BUG}.json"
    assert kept.with_suffix(".txt").read_text(encoding="utf-8") in again.stdout
    artefact = json.loads(kept.read_text(encoding="utf-8"))
    assert "made smaller" in artefact["found"]

    sound = tmp_path / "sound.json"
    sound.write_text(json.dumps({key: value for key, value in artefact.items() if key != "planted"}))
    clean = vexil_chaos("replay", str(sound), folder=tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert "nothing is violated; it was " in clean.stdout


def test_the_gate_says_by_which_checker_a_bug_was_caught(tmp_path: Path) -> None:
    done = vexil_chaos("check", "--planted", "--only", BUG, "--seeds", "3", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)["planted"]
    (finding,) = document["findings"]
    assert finding["state"] == "by_seed"
    assert finding["by"] in finding["expected"]
    assert finding["seeds_tried"] == 1
    assert set(document["missing"]) >= {"26"}


def test_a_benign_refactor_raises_nothing(tmp_path: Path) -> None:
    only = ("--only", "root-from-scratch", "--only", "chains-hashed-anew")
    done = vexil_chaos("check", "--benign", *only, "--seeds", "2", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)["benign"]
    assert document["seeds"] == {"chains-hashed-anew": 1, "root-from-scratch": 1}


def test_ctrl_c_ends_it_and_says_what_is_known(tmp_path: Path) -> None:
    terminal = Terminal(
        "sim",
        "--seeds",
        "0..",
        "--jobs",
        "1",
        "--planted",
        BUG,
        "--no-shrink",
        folder=tmp_path,
        command=CHAOS,
    )
    try:
        terminal.until(lambda line: line.startswith("seed 0: P"))
        assert terminal.end(signal.SIGINT) == 1
        assert any("then interrupted: " in line for line in terminal.lines)
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("text", "first", "last", "endless"),
    [("0..999", 0, 999, False), ("7", 7, 7, False), ("3..3", 3, 3, False), ("5..", 5, 4 + SEEDS_MAX, True)],
)
def test_a_range_has_both_ends(text: str, first: int, last: int, endless: bool) -> None:
    assert SeedsType().convert(text, None, None) == Seeds(first, last, endless)


def test_fresh_seeds_are_others_each_time() -> None:
    one, two = (SeedsType().convert("fresh", None, None) for _ in range(2))
    assert one.first != two.first
    assert one.endless
    assert str(one) == f"{one.first}.."


@pytest.mark.parametrize(
    ("seeds", "why"),
    [
        ("5..3", "ends before it begins"),
        ("x", "neither 0..999, 7, 1000.. nor fresh"),
        ("-1", "neither"),
        ("1..2..3", "neither"),
        ("..3", "neither"),
        ("٣", "neither"),
        (f"0..{SEEDS_MAX}", "more than 100,000,000 seeds"),
        ("9" * 30, "beyond"),
    ],
)
def test_a_range_that_makes_no_sense_is_a_mistake_of_usage(seeds: str, why: str) -> None:
    result = typed("sim", "--seeds", seeds)
    assert result.exit_code == 2
    assert why in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("sim", "--jobs", "0"),
        ("sim", "--minutes", "0"),
        ("sim", "--planted", "a-bug-that-nobody-has-thought-of"),
        ("check",),
        ("check", "--planted", "--only", "gap"),
        ("replay",),
        ("replay", "there-is-no-such-file.json"),
    ],
)
def test_what_makes_no_sense_is_a_mistake_of_usage(arguments: tuple[str, ...]) -> None:
    assert typed(*arguments).exit_code == 2


def test_a_name_that_is_nearly_right_is_understood() -> None:
    assert "14-gap-skipped" in typed("check", "--planted", "--only", "gap-skipped").stderr


def test_what_is_no_artefact_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text("[]")
    result = typed("replay", str(file))
    assert result.exit_code == 1
    assert "it is no artefact" in result.stderr


def test_everything_that_can_be_planted_is_listed_and_what_is_missing_says_why() -> None:
    shown = typed("check", "--list")
    assert shown.exit_code == 0
    assert "14-gap-skipped" in shown.stdout
    assert "26: a Cassandra timestamp from the server's clock" in shown.stdout
    document = json.loads(typed("check", "--list", "--json").stdout)
    assert {"26"} <= set(document["missing"])
    assert all(each["what"] for each in document["present"])
