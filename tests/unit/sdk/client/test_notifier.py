"""The thread that calls an application back."""

from __future__ import annotations

import asyncio
import threading  # noqa: TID251 - what is tested is a thread

import pytest

from vexil.sdk import FlagSet
from vexil.sdk.client.adapters.notifier import Notifier
from vexil.sdk.client.status import Status

WAIT_S = 10


def status(ready: bool) -> Status:
    return Status(ready=ready, source="node", connection="stream", stale_since=None)


@pytest.mark.parametrize("raised", [ValueError, SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_whatever_a_callback_raises_the_others_are_told_and_go_on_being_told(
    raised: type[BaseException],
) -> None:
    notifier = Notifier(FlagSet(), status(False))
    heard: list[bool] = []
    told = threading.Semaphore(0)

    def fails(_: Status) -> None:
        raise raised

    def listens(now: Status) -> None:
        heard.append(now.ready)
        told.release()

    notifier.on_status(fails)
    notifier.on_status(listens)
    for ready in (True, False):
        notifier.post(FlagSet(), status(ready))
        assert told.acquire(timeout=WAIT_S)
    notifier.close()
    assert heard == [True, False]
