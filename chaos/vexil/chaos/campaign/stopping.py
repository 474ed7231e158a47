"""Ctrl-C and SIGTERM, for what runs long and has something to tell when it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Final

import trio

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def until_stopped(work: Callable[[], Awaitable[None]]) -> bool:
    """Await ``work()``, or cancel it at the first signal; whether it came to its end. Main thread only."""
    ended = False
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)
        await work()
        ended = True
        nursery.cancel_scope.cancel()
    return ended


async def _cancel_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
