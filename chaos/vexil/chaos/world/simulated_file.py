"""A client's snapshot file on a disk that may lose power: it has all of the old bytes, or all of the new ones."""

from __future__ import annotations

from random import Random
from typing import Final

import trio

WRITE_MS_MAX: Final = 20.0


class SimulatedFile:
    """The file. It outlives the processes that use it."""

    def __init__(self, rng: Random) -> None:
        """There is no such file yet."""
        self.data: bytes | None = None
        self._rng = rng

    def opened(self) -> OpenFile:
        """For one process."""
        return OpenFile(self, self._rng)


class OpenFile:
    """``vexil.sdk.client.seams.Disk`` of one process."""

    def __init__(self, file: SimulatedFile, rng: Random) -> None:
        """Made by `SimulatedFile.opened`."""
        self._file = file
        self._rng = rng
        self._writing: bytes | None = None
        self._alive = True

    def kill(self) -> None:
        """The process dies now: what it was writing is there as a whole, or not at all."""
        self._alive = False
        if self._writing is not None and self._rng.random() < 0.5:
            self._file.data = self._writing

    async def read(self) -> bytes | None:
        """See ``Disk``."""
        await trio.lowlevel.checkpoint()
        return self._file.data

    async def write(self, data: bytes) -> None:
        """See ``Disk``. Nothing is written for a dead process (OSError)."""
        self._writing = data
        await trio.sleep(self._rng.uniform(0, WRITE_MS_MAX) / 1000)
        if not self._alive:
            raise OSError("this process is dead")
        self._file.data, self._writing = data, None
