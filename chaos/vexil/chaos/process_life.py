"""The life of one simulated process: what it had in hand when it was killed, it never finishes.

Everything that a process holds of the simulated world (journal, store) shares its life. A harness kills the life and
then cancels the process's tasks; whatever code of the process still runs meets ProcessDead before it can do harm.
"""

from __future__ import annotations

import trio

from vexil.node.seams import SeamError


class ProcessDead(SeamError):
    """The process that made this call is dead: nobody hears the answer, and nothing was done on its behalf."""


class ProcessLife:
    """Alive until ``kill``; never again after it."""

    def __init__(self) -> None:
        self._killed = trio.Event()

    @property
    def alive(self) -> bool:
        """Whether ``kill`` has not been called."""
        return not self._killed.is_set()

    def kill(self) -> None:
        """End the life now; again is harmless."""
        self._killed.set()

    async def pause(self, milliseconds: float) -> bool:
        """Sleep, at least for one checkpoint, but not beyond death. Returns whether the process is alive."""
        with trio.move_on_after(milliseconds / 1000):
            await self._killed.wait()
        return self.alive

    async def check(self) -> None:
        """Raise ProcessDead if dead (trio.Cancelled goes before it). Not a checkpoint while alive."""
        if not self.alive:
            await trio.lowlevel.checkpoint()
            raise ProcessDead
