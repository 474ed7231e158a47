"""What the process does to its clients: it forks, and it ends.

The one idea: a forked child has a client's memory but none of its threads, and its sockets belong to the parent. So
in the child every client falls asleep, touching nothing, and starts afresh with the first call. At the interpreter's
exit every client is closed while threads can still be waited for.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Final, Protocol


class Lasting(Protocol):
    """Something that has a thread."""

    def fall_asleep(self) -> None:
        """In a forked child: forget the thread, its locks and its connections. Must not wait for anything."""

    def close(self) -> None:
        """End the thread."""


_living: Final[weakref.WeakSet[Lasting]] = weakref.WeakSet()


def remember(lasting: Lasting) -> None:
    """Tell ``lasting`` of forks and of the exit, for as long as it lives."""
    _living.add(lasting)


def _in_child() -> None:
    for lasting in tuple(_living):
        lasting.fall_asleep()


def _at_exit() -> None:
    for lasting in tuple(_living):
        lasting.close()


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
