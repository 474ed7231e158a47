"""Tripwires: while a simulation runs, touching the real world is an error and not an unnoticed difference.

What is patched is what a seed cannot replay, as far as it can be patched: sockets, threads, clocks, the operating
system's entropy and the global random generator. `time.perf_counter` stays, since trio itself asks it; `datetime` is
compiled and cannot be patched, and files are not watched: the lint rules forbid both outside of adapters.
"""

from __future__ import annotations

import os
import random
import socket  # noqa: TID251 - what is patched away
import threading  # noqa: TID251 - what is patched away
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn
from unittest.mock import patch

from trio._core._thread_cache import ThreadCache


class RealWorldTouched(AssertionError):
    """Code under simulation has reached around its seams."""


_GLOBAL_RANDOM: Final = (
    "betavariate", "choice", "choices", "expovariate", "gauss", "getrandbits", "normalvariate", "randbytes", "randint",
    "random", "randrange", "sample", "seed", "shuffle", "triangular", "uniform",
)  # fmt: skip
_WIRES: Final[tuple[tuple[Any, str], ...]] = (
    (socket, "socket"),
    (socket, "create_connection"),
    (socket, "getaddrinfo"),
    (threading.Thread, "start"),
    # trio keeps threads that have nothing to do for some seconds: work may go to one that runs already.
    (ThreadCache, "start_thread_soon"),
    (time, "time"),
    (time, "time_ns"),
    (time, "monotonic"),
    (time, "monotonic_ns"),
    (time, "localtime"),
    (time, "gmtime"),
    (time, "ctime"),
    (time, "sleep"),
    (os, "urandom"),
    (random, "_urandom"),
    *((random, name) for name in _GLOBAL_RANDOM),
)


def _wire(name: str) -> Any:
    def tripped(*_: object, **__: object) -> NoReturn:
        raise RealWorldTouched(f"{name} was called in a simulation: take the seam")

    return tripped


@contextmanager
def tripwires() -> Iterator[None]:
    """Inside, every call of what is wired raises `RealWorldTouched`. A name that was imported before stays as it was.

    Enter it in the simulation's main task: trio opens a socket of its own when it starts.
    """
    wires = []
    try:
        for owner, name in _WIRES:
            full = f"{getattr(owner, '__name__', owner)}.{name}"
            wires.append(patch.object(owner, name, _wire(full)))
            wires[-1].start()
        yield
    finally:
        for wire in reversed(wires):
            wire.stop()
