"""A signal that many tasks may wait for, again and again: something has advanced, look again."""

from __future__ import annotations

from collections.abc import Callable

import trio


class Signal:
    """Wakes every task that waits at the moment of `notify`; remembers nothing."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        """A signal that nobody waits for yet."""
        self._event = trio.Event()

    def notify(self) -> None:
        """Wake all waiters."""
        event, self._event = self._event, trio.Event()
        event.set()

    async def wait(self) -> None:
        """Return after the next `notify`."""
        await self._event.wait()

    async def until(self, holds: Callable[[], bool], *, timeout_ms: float) -> bool:
        """Wait until ``holds()`` is true (checked now and after each `notify`); False if time ran out first."""
        with trio.move_on_after(timeout_ms / 1000):
            while not holds():
                await self._event.wait()
            return True
        return holds()
