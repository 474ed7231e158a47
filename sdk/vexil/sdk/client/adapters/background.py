"""The one thread in which a client does its work, whatever its application is made of.

The one idea: the application keeps its threads, its event loop and its signals; a daemon thread runs trio beside
them. It ends when it is told to, at the latest at the interpreter's exit, and nothing that happens in it reaches a
caller: callers only wait on a ``Board``, and every wait has an end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import isfinite
from typing import Final

import trio

_log = logging.getLogger("vexil.sdk")

WAIT_S_MAX: Final = min(threading.TIMEOUT_MAX, 1e6)


class Board:
    """Where threads wait for what another one does."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def notify(self) -> None:
        """Something is different: whoever waits looks again."""
        with self._condition:
            self._condition.notify_all()

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether ``condition`` holds, at the latest after ``timeout_s``."""
        with self._condition:
            return self._condition.wait_for(condition, bounded_s(timeout_s))

    def exclusively(self, function: Callable[[], None]) -> None:
        """Call ``function`` while no other thread is in a call of this method."""
        with self._condition:
            function()


class Countdown:
    """A time that runs off."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + bounded_s(timeout_s)

    @property
    def left_s(self) -> float:
        """What is left of it."""
        return max(0.0, self._end_s - time.monotonic())


def bounded_s(timeout_s: float) -> float:
    """``timeout_s`` as a time that can be waited; what is none counts as 0."""
    if not isfinite(timeout_s):
        return WAIT_S_MAX if timeout_s > 0 else 0.0
    return min(max(timeout_s, 0.0), WAIT_S_MAX)


class Background:
    """A daemon thread with one trio run of ``work``. It starts once and ends once."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        # The garbage collector may call `stop` in any thread, also in one that is in here.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin. Raises RuntimeError if the system gives no thread, for example while the interpreter ends."""
        thread = threading.Thread(target=self._run, name="vexil-sdk", daemon=True)
        thread.start()
        self._thread = thread

    def call(self, function: Callable[[], object]) -> bool:
        """Run ``function`` in the trio run, soon; False if there is none. It is lost if the run ends before."""
        with self._lock:
            token = self._token
        if token is None:
            return False
        try:
            token.run_sync_soon(function)
        except trio.RunFinishedError:
            return False
        return True

    def stop(self, *, join_s: float) -> None:
        """End the run, and wait for that at most ``join_s``. From any thread; more than once does no harm."""
        with self._lock:
            self._stopping = True
            token, scope = self._token, self._scope
        if token is not None and scope is not None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(scope.cancel)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(join_s)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException:  # noqa: BLE001 - the end of the thread: nobody is above it
            _log.exception("the background work of a client has broken off")

    async def _main(self) -> None:
        with trio.CancelScope() as scope:
            with self._lock:
                if self._stopping:
                    return
                self._token, self._scope = trio.lowlevel.current_trio_token(), scope
            await self._work()
