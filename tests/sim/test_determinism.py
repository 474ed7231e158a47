"""P16: the same seed is the same history, in another process and with another order of hashing.

And nothing of the real world can change it: whatever touches it in a simulation raises.
"""

# What is tested is that the banned calls raise.
# ruff: noqa: TID251

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec
import pytest
import trio

from vexil.chaos.run.plan import Plan
from vexil.chaos.run.simulation import run_plan, simulate
from vexil.chaos.run.swarm import plan
from vexil.chaos.world.determinism import Streams, run_deterministically
from vexil.chaos.world.tripwires import RealWorldTouched, tripwires

SEEDS = (1, 15, 31)
PROGRAM = f"""
from vexil.chaos.run.simulation import simulate
for seed in {SEEDS}:
    report = simulate(seed)
    history = report.history
    print(report.trace_hash, len(history.events), len(history.writes), len(history.reads), dict(history.fired))
"""


def traces_of_a_fresh_process(hash_seed: str) -> list[str]:
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout.splitlines()


def test_fresh_processes_that_hash_differently_write_the_same_trace() -> None:
    first, second = traces_of_a_fresh_process("1"), traces_of_a_fresh_process("4242")
    assert len(first) == len(SEEDS)
    assert first == second


def test_a_second_run_in_one_process_writes_the_same_trace() -> None:
    first, second = simulate(7, keep_trace=True), simulate(7, keep_trace=True)
    assert first.trace == second.trace
    assert first.trace_hash == second.trace_hash


def test_a_plan_that_was_written_down_writes_the_same_trace() -> None:
    written = msgspec.json.encode(plan(7))
    assert run_plan(msgspec.json.decode(written, type=Plan)).trace_hash == simulate(7).trace_hash


def test_another_seed_is_another_history() -> None:
    assert simulate(2).trace_hash != simulate(3).trace_hash


def test_streams_are_independent_and_repeatable() -> None:
    left, right = Streams(5), Streams(5)
    right.stream("network").random()
    assert left.stream("disk", "eu-1").random() == right.stream("disk", "eu-1").random()
    assert left.stream("disk", "eu-1").random() != left.stream("disk", "eu-2").random()


TOUCHES: dict[str, Callable[[], object]] = {
    "wall clock": lambda: time.time(),  # noqa: PLW0108 - looked up when it is called
    "clock of the machine": lambda: time.monotonic(),  # noqa: PLW0108
    "the same in nanoseconds": lambda: time.monotonic_ns(),  # noqa: PLW0108
    "local time": lambda: time.localtime(),  # noqa: PLW0108
    "universal time": lambda: time.gmtime(),  # noqa: PLW0108
    "time in words": lambda: time.ctime(),  # noqa: PLW0108
    "real sleep": lambda: time.sleep(0),
    "entropy": lambda: os.urandom(1),
    "global generator": lambda: random.random(),  # noqa: PLW0108
    "global choice": lambda: random.choice([1]),
    "system generator": lambda: random.SystemRandom().random(),
    "socket": lambda: socket.socket().close(),
    "thread": lambda: threading.Thread(target=str).start(),
}


@pytest.mark.parametrize("name", TOUCHES)
def test_touching_the_real_world_in_a_simulation_raises(name: str) -> None:
    async def main() -> None:
        with tripwires():
            TOUCHES[name]()

    with pytest.raises(RealWorldTouched):
        run_deterministically(0, main)
    TOUCHES[name]()


@pytest.mark.parametrize("idle", [False, True], ids=["new", "kept"])
def test_a_thread_cannot_carry_work_out_of_a_simulation(*, idle: bool) -> None:
    async def main() -> None:
        if idle:
            await trio.to_thread.run_sync(str)
        with tripwires():
            await trio.to_thread.run_sync(print)

    with pytest.raises(RealWorldTouched):
        run_deterministically(0, main)


def test_virtual_time_passes_without_waiting() -> None:
    async def main() -> float:
        with tripwires():
            await trio.sleep(80_000)
        return trio.current_time()

    assert run_deterministically(0, main) == pytest.approx(80_000)
