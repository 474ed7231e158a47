"""The terminal that a supervisor runs in: its lines and its signals.

The one idea: the cluster outlives its audience. Whoever reads our output may close it once the cluster is ready, and
a terminal window may be shut; neither may end the supervisor before it has stopped its nodes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(line: str) -> None:
    """Print one line at once; when nobody reads any more, it goes nowhere, and so do all later ones."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except OSError:
        # What is in the buffer would raise again at every flush, the last one at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def stopping_on_signals() -> Iterator[threading.Event]:
    """While inside, Ctrl-C, SIGTERM and a closed terminal set the event and do nothing else. Main thread only."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
