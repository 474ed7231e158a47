"""The processes that are measured, seen from whoever compares them.

The one idea: all of them are there at once and one of them works, so that a round is over before the machine has
changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.benchmarks.sdk_peers.environment import ROOT

MODULES: Final = "tests.benchmarks.sdk_peers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something to be measured."""

    label: str
    module: str
    peer: bool = False
    """Lives in the peers' environment."""


@dataclass(slots=True)
class Series:
    """What was measured of one thing; or why nothing was."""

    thing: Thing
    said: dict[str, Any] = field(default_factory=dict)
    """By itself, at its start."""
    wall_us: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    absent: str = ""


def measure(things: Sequence[Thing], *, size: int, rounds: int, pythons: dict[bool, Path]) -> list[Series]:
    """All things with ``size`` flags each, ``rounds`` times in turn; ``pythons`` by whether it is a peer."""
    core = pinned_core()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(_worker(thing, pythons[thing.peer], size=size, core=core)) for thing in things
        ]
        present = [worker for worker in workers if not worker.series.absent]
        rng = Random(size)
        for _ in range(rounds):
            rng.shuffle(present)  # nobody always comes after the same one
            for worker in present:
                worker.round()
        return [worker.series for worker in workers]


def pinned_core() -> int:
    """The core for what is measured; the first one has the most interrupts."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


class _Worker:
    def __init__(self, process: subprocess.Popen[str], series: Series) -> None:
        self._process = process
        self.series = series

    def heard(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return dict(json.loads(line)) if line else None

    def round(self) -> None:
        assert self._process.stdin is not None
        series = self.series
        for shape in series.said["shapes"]:
            self._process.stdin.write(json.dumps({"shape": shape}) + "\n")
            self._process.stdin.flush()
            found = self.heard()
            if found is None:
                raise RuntimeError(f"{series.thing.label} ended while it was measured")
            series.wall_us.setdefault(shape, []).append(found["us"])
            series.cpu_us.setdefault(shape, []).append(found["cpu_us"])


@contextmanager
def _worker(thing: Thing, python: Path, *, size: int, core: int) -> Iterator[_Worker]:
    """One process, which is ready or has said why it cannot be."""
    command = [str(python), "-m", f"{MODULES}.{thing.module}", str(size), str(core)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        worker = _Worker(process, Series(thing))
        try:
            said = worker.heard()
            if said is None:
                errors.seek(0)
                lines = errors.read().split("\n")
                worker.series.absent = next((line for line in reversed(lines) if line.strip()), "it ended")
            else:
                worker.series.said = said
            yield worker
        finally:
            process.kill()
