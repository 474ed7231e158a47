"""The thread in which a client calls back.

The one idea: a callback may take as long as it likes, or never return, or close the client; the work of the client
goes on beside it. So nothing is queued: whoever is slow finds the newest status and all that has changed since he
last looked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from vexil.sdk.client.changed_keys import changed_keys
from vexil.sdk.client.options import CALLBACKS_MAX
from vexil.sdk.client.status import Status
from vexil.sdk.errors import ClientMisconfigured
from vexil.sdk.model import FlagSet

_log = logging.getLogger("vexil.sdk")

T = TypeVar("T")
OnChange = Callable[[frozenset[str]], object]
OnStatus = Callable[[Status], object]


class Notifier:
    """Tells of every set and status that is posted, in a daemon thread that starts with the first callback."""

    def __init__(self, flag_set: FlagSet, status: Status) -> None:
        self._condition = threading.Condition()
        self._newest = (flag_set, status)
        self._told = (flag_set, status)
        self._on_change: list[OnChange] = []
        self._on_status: list[OnStatus] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    def post(self, flag_set: FlagSet, status: Status) -> None:
        """This is how it is now."""
        with self._condition:
            self._newest = (flag_set, status)
            if self._thread is None:
                self._told = self._newest
            self._condition.notify()

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Tell ``callback`` of the keys whose answers may have changed; the result ends that."""
        return self._add(self._on_change, callback)

    def on_status(self, callback: OnStatus) -> Callable[[], None]:
        """Tell ``callback`` of every status that differs in more than its moments; the result ends that."""
        return self._add(self._on_status, callback)

    def close(self) -> None:
        """Call nobody back any more, once what was posted has been told."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def renew(self) -> None:
        """In a forked child: the thread is not here, and its lock may be held by nobody."""
        self._condition = threading.Condition()
        self._thread = None

    def wake(self) -> None:
        """Start the thread again, if somebody is to be told and there is none."""
        with self._condition:
            if self._thread is None and (self._on_change or self._on_status) and not self._closed:
                self._start()

    def _add(self, callbacks: list[T], callback: T) -> Callable[[], None]:
        with self._condition:
            if len(callbacks) >= CALLBACKS_MAX:
                raise ClientMisconfigured(f"more than {CALLBACKS_MAX} callbacks")
            callbacks.append(callback)
            if self._thread is None and not self._closed:
                self._start()

        def remove() -> None:
            with self._condition:
                if callback in callbacks:
                    callbacks.remove(callback)

        return remove

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="vexil-sdk-callbacks", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        condition = self._condition
        while True:
            with condition:
                while self._newest == self._told and not self._closed:
                    condition.wait()
                if self._newest == self._told:
                    return
                before, now = self._told, self._newest
                self._told = now
                on_change, on_status = tuple(self._on_change), tuple(self._on_status)
            if before[0] is not now[0] and on_change:
                keys = changed_keys(before[0], now[0])
                for tell_keys in on_change if keys else ():
                    _call(partial(tell_keys, keys))
            if now[1].differs_from(before[1]):
                for tell_status in on_status:
                    _call(partial(tell_status, now[1]))


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except BaseException:  # noqa: BLE001 - its own affair, an exit or a cancellation too: the others are told all the same
        _log.exception("a callback of the application failed")
