"""Files, read and replaced as a whole.

The one idea: whatever moment the machine loses its power in, the file has either all of its old bytes or all of its
new ones. The new ones are on the disk before the name is given to them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import trio


class DiskFile:
    """The Disk of production. Every call goes to a thread and is left alone there if it is cancelled."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max

    async def read(self) -> bytes | None:
        """See ``Disk``."""
        return await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)

    async def write(self, data: bytes) -> None:
        """See ``Disk``. Only its owner may read the file."""
        await trio.to_thread.run_sync(self._write, data, abandon_on_cancel=True)

    def _read(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                data = file.read(self._bytes_max + 1)
        except FileNotFoundError:
            return None
        if len(data) > self._bytes_max:
            raise OSError(f"{self._path} has more than {self._bytes_max} bytes")
        return data

    def _write(self, data: bytes) -> None:
        # Of this client alone, since others may keep the same file.
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}-{id(self):x}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
