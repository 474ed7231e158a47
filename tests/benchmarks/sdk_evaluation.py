"""Microseconds a call, beside what one can have instead: our client, peers, and both behind OpenFeature's API.

Every measured thing is a process of its own on one core, with flags that mean the same, without any network; it has
given right answers before it is timed, for three flags of every shape and a thousand users, whatever the default.
Numbers are medians of interleaved rounds. Then what a flag set costs: ``sdk_flag_set``.

``python -m tests.benchmarks.sdk_evaluation --clock cpu`` counts the time that the calling thread had the processor,
which is of use where others work on this machine too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks.sdk_peers.environment import peers_python
from tests.benchmarks.sdk_peers.workers import Series, Thing, measure, pinned_core
from tests.benchmarks.sdk_peers.workload import SHAPES, SIZES

ROUNDS: Final = 9
BUSY: Final = 1.1
"""A wall clock that runs so much faster than the processor's means that others had the processor."""
UNKNOWN: Final = "unknown"

BOOLEAN: Final = Thing(label="client.boolean", module="vexil_boolean")
DETAILS: Final = Thing(label="client.boolean_details", module="vexil_details")
EPPO: Final = Thing(label="eppo (Rust core)", module="eppo", peer=True)
IN_MEMORY: Final = Thing(label="OpenFeature: in-memory provider", module="openfeature_in_memory")
OUR_PROVIDER: Final = Thing(label="OpenFeature: our provider", module="openfeature_vexil")
THINGS: Final = (
    Thing(label="the loop around each, empty", module="empty_loop"),
    Thing(label="our function alone", module="vexil_function"),
    BOOLEAN,
    DETAILS,
    EPPO,
    Thing(label="statsig (Rust core)", module="statsig", peer=True),
    Thing(label="openfeature-flagd-core", module="flagd_core"),
    Thing(label="GrowthBook", module="growth_book", peer=True),
    Thing(label="LaunchDarkly", module="launch_darkly", peer=True),
    Thing(label="Unleash (Rust core)", module="unleash", peer=True),
    IN_MEMORY,
    Thing(label="OpenFeature: flagd provider", module="openfeature_flagd"),
    OUR_PROVIDER,
)
COLUMNS: Final = (*SHAPES, UNKNOWN)
HEADINGS: Final = ("plain boolean", "five rules", "50/50 split", "unknown key")

Table = dict[Thing, dict[int, dict[str, float]]]
"""Microseconds by thing, size and shape."""


def main() -> int:
    """Print the table and the goals; 1 if something of ours could not be measured."""
    options = _options()
    things = [thing for thing in THINGS if not options.only or thing.module in options.only]
    pythons = {False: Path(sys.executable)}
    if any(thing.peer for thing in things):
        pythons[True] = peers_python()
    sizes = options.sizes
    found = {size: measure(things, size=size, rounds=options.rounds, pythons=pythons) for size in sizes}
    _print_conditions(found, options.rounds)
    print(f"µs a call by the {options.clock} clock, with {' / '.join(f'{size:,}' for size in sizes)} flags\n")
    table = _table(found, options.clock)
    _print_table(found, table)
    _print_goals(table)
    _print_busy(found, options.clock)
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.sdk_flag_set", options.clock], check=False
    )
    ours_absent = any(s.absent and not s.thing.peer for series in found.values() for s in series)
    return int(ours_absent or outcome.returncode != 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--only", nargs="*", choices=[thing.module for thing in THINGS])
    return parser.parse_args()


def _print_conditions(found: dict[int, list[Series]], rounds: int) -> None:
    """As the processes themselves have said."""
    said = [series.said for many in found.values() for series in many if series.said]
    pythons = " and ".join(sorted({each["python"] for each in said}))
    pinned = f"core {pinned_core()}" if all(each["pinned"] for each in said) else "NOT PINNED"
    collector = "on" if all(each["gc"] for each in said) else "OFF for some"
    print(f"Python {pythons}, {pinned}, garbage collector {collector}, median of {rounds} interleaved rounds")


def _table(found: dict[int, list[Series]], clock: str) -> Table:
    table: Table = {}
    for size, many in found.items():
        for series in many:
            of_clock = series.wall_us if clock == "wall" else series.cpu_us
            medians = {shape: median(values) for shape, values in of_clock.items()}
            table.setdefault(series.thing, {})[size] = medians
    return table


def _print_table(found: dict[int, list[Series]], table: Table) -> None:
    print(f"{'':42}" + "".join(f"{heading:>16}" for heading in HEADINGS))
    for position, series in enumerate(next(iter(found.values()))):
        absent = next((many[position].absent for many in found.values() if many[position].absent), "")
        name = f"{series.thing.label} {series.said.get('version', '')}".rstrip()
        if absent:
            print(f"{name:42} absent: {absent}")
            continue
        by_size = table[series.thing]
        print(f"{name:42}" + "".join(f"{_pair([by_size[s].get(c) for s in found]):>16}" for c in COLUMNS))


def _pair(values: Sequence[float | None], digits: int = 2) -> str:
    return " / ".join(f"{v:.{digits if v < 10 else 1}f}" for v in values if v is not None)


def _print_goals(table: Table) -> None:
    print(f"\n{'goals':42}" + "".join(f"{heading:>16}" for heading in HEADINGS))
    _print_goal(table, BOOLEAN, EPPO, "client.boolean / eppo", "at most 0.60", 0.60)
    _print_goal(table, DETAILS, EPPO, "client.boolean_details / eppo", "below 1.00", 1.00)
    _print_goal(table, OUR_PROVIDER, IN_MEMORY, "OpenFeature: ours / in-memory", "at most 1.05", 1.05)
    for thing in (BOOLEAN, DETAILS):
        by_size = table.get(thing, {}).values()
        if by_size and all(by_size):
            ratios = [medians[UNKNOWN] / medians[SHAPES[0]] for medians in by_size]
            verdict = _verdict(ratios, 1.0)
            empty = "".join(f"{'':16}" for _ in SHAPES)
            print(
                f"{thing.label + ', unknown / plain':42}{empty}{_pair(ratios):>16}   (at most 1.00: {verdict})"
            )


def _print_goal(table: Table, ours: Thing, other: Thing, label: str, bound: str, most: float) -> None:
    sizes = tuple(table.get(ours, {}))
    if not sizes or not all(table.get(thing, {}).get(size) for thing in (ours, other) for size in sizes):
        print(f"{label:42} not judged: one of the two is absent")
        return
    columns = [[table[ours][size][s] / table[other][size][s] for size in sizes] for s in SHAPES]
    verdict = _verdict([ratio for column in columns for ratio in column], most)
    print(f"{label:42}" + "".join(f"{_pair(c):>16}" for c in columns) + f"{'':16}   ({bound}: {verdict})")


def _verdict(ratios: Sequence[float], most: float) -> str:
    missed = sum(ratio > most for ratio in ratios)
    return "met" if not missed else f"MISSED by {missed} of {len(ratios)}"


def _print_busy(found: dict[int, list[Series]], clock: str) -> None:
    ratios = [
        median(wall) / median(series.cpu_us[shape])
        for many in found.values()
        for series in many
        for shape, wall in series.wall_us.items()
    ]
    if ratios and median(ratios) > BUSY:
        advice = "" if clock == "cpu" else ": do not trust these numbers, or use --clock cpu"
        print(
            f"\nThe machine was busy: a call took {median(ratios):.1f} times as long as it had the processor{advice}"
        )


if __name__ == "__main__":
    sys.exit(main())
