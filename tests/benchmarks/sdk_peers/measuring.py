"""One measured thing in a process of its own: pinned, checked, then timed whenever it is told to.

The one idea: whoever compares tells the processes in turn, so that a machine that is slow for a while is slow for all
of them. A line of JSON each way: ``{"shape": "plain"}`` is answered by ``{"us": 0.21, "cpu_us": 0.21}``, the mean of
many calls by the wall clock and by the time that the calling thread had the processor. Where they differ, the machine
was busy.

The garbage collector stays on, as in a service; a full collection precedes each timing. The loop around the calls is
part of every number, and is a row of the table by itself.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from tests.benchmarks.sdk_peers.workload import SHAPES, USERS_TIMED, User, expected, flag_keys, users

TIMED_S: Final = 0.06
"""How long one timing takes at least."""
PASSES_MAX: Final = 100_000
HALF: Final = (0.4, 0.6)
"""What a half of `workload.USERS_MAX` users may be by chance; six standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is measured: how it is asked, and its loop."""

    package: str
    """The distribution whose version is said."""
    context_of: Callable[[User], Any]
    """A user in its own form, made once a user, not once a call."""
    ask: Callable[[str, Any, bool], bool]
    """Flag, user, default: the answer, for the check."""
    loop: Callable[[list[str], list[Any]], None]
    """Ask for each flag for each user. Written out by everybody: a helper in between would cost as much as a call."""
    checked: bool = True
    """Whether there are answers to check."""
    more: dict[str, Callable[[int], list[str]]] = field(default_factory=dict)
    """Further lists of flags to time, by name."""


def serve(make: Callable[[int], Measured]) -> None:
    """Be the process that ``python -m module SIZE CORE`` starts: make, check, say so, time when told to."""
    size, core = int(sys.argv[1]), int(sys.argv[2])
    pinned = _pin(core)
    measured = make(size)
    everybody = users()
    contexts = [measured.context_of(user) for user in everybody]
    if measured.checked:
        for shape in SHAPES:
            check(measured, shape, flag_keys(shape, size), list(zip(everybody, contexts, strict=True)))
    timed = contexts[:USERS_TIMED]
    keys = {shape: flag_keys(shape, size) for shape in SHAPES}
    keys.update({name: more(size) for name, more in measured.more.items()})
    passes = {name: _passes(measured, each, timed) for name, each in keys.items()}
    _say(
        version=_version(measured.package),
        python=platform.python_version(),
        pinned=pinned,
        gc=gc.isenabled(),
        shapes=list(keys),
    )
    for line in sys.stdin:
        shape = json.loads(line)["shape"]
        gc.collect()
        took_s, cpu_s = _timed(measured, keys[shape], timed, passes[shape])
        calls = passes[shape] * len(keys[shape])
        _say(us=took_s / calls * 1e6, cpu_us=cpu_s / calls * 1e6)


def check(measured: Measured, shape: str, keys: Sequence[str], people: Sequence[tuple[User, Any]]) -> None:
    """The answers are right, whatever the default is. Raises RuntimeError."""
    for key in (keys[0], keys[len(keys) // 2], keys[-1]):
        known = 0
        for user, context in people:
            answers = {measured.ask(key, context, default) for default in (True, False)}
            wanted = expected(shape, user)
            if len(answers) != 1 or (wanted is not None and answers != {wanted}):
                raise RuntimeError(f"{key} for {user}: {answers}, not {wanted}")
            known += True in answers
        share = known / len(people)
        if shape == "split" and not HALF[0] < share < HALF[1]:
            raise RuntimeError(f"{key}: {share:.0%} is no half")


def _passes(measured: Measured, keys: list[str], contexts: list[Any]) -> int:
    """How often the loop is to run to take long enough; all flags were asked for then."""
    measured.loop(keys, contexts[:1])
    passes = 1
    while passes < PASSES_MAX:
        _, worked_s = _timed(measured, keys, contexts, passes)
        if worked_s >= TIMED_S:
            break
        passes = max(passes + 1, min(passes * 8, int(passes * TIMED_S / max(worked_s, 1e-9) * 1.1)))
    return passes


def _timed(measured: Measured, keys: list[str], contexts: list[Any], passes: int) -> tuple[float, float]:
    """What the passes took, and what the processor worked for them. One pass asks for every flag for one user."""
    rounds, rest = divmod(passes, len(contexts))
    repeated = contexts * rounds + contexts[:rest]
    started, worked = time.perf_counter(), time.thread_time()
    measured.loop(keys, repeated)
    return time.perf_counter() - started, time.thread_time() - worked


def _pin(core: int) -> bool:
    """Before anything is made, so that threads of a peer are on the same core."""
    if not hasattr(os, "sched_setaffinity"):  # not on Linux
        return False
    os.sched_setaffinity(0, {core})
    return True


def _version(package: str) -> str:
    try:
        return version(package) if package else ""
    except PackageNotFoundError:  # run from its sources
        return ""


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)
