"""One process per data folder: the lock that makes a slot a slot.

The lock is the kernel's (``flock``), not the file: it ends with the process, however that ends. The text in the file
only tells a person who holds it. The file is never deleted, because a lock on a deleted file excludes nobody. A child
made by ``fork`` without ``exec`` shares the lock; a started program does not.
"""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vexil.node.seams import SeamError

LOCK_FILE: Final = "lock"
LOCK_TEXT_BYTES_MAX: Final = 200
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


class FolderUnusable(SeamError):
    """The data folder or its lock file cannot be made or opened."""


class FolderLocked(SeamError):
    """Another live process works in the data folder.

    ``pid`` is None and ``since`` empty if that process has not written them yet.
    """

    def __init__(self, folder: Path, pid: int | None, since: str) -> None:
        who = "another process" if pid is None else f"process {pid}"
        when = f" since {since}" if since else ""
        super().__init__(f"{folder} is in use by {who}{when}: one node per data folder")
        self.folder = folder
        self.pid = pid
        self.since = since


class FolderLock:
    """The held lock of a data folder; a context manager. Released by ``close`` or by the death of the process."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, folder: Path) -> Self:
        """Lock ``folder``, made if it is missing, without waiting. Raises FolderLocked or FolderUnusable."""
        path = folder / LOCK_FILE
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        except OSError as error:
            raise FolderUnusable(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = f"{os.getpid()}\n{datetime.now(UTC).isoformat(timespec='seconds')}\n".encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text, 0)
        except BlockingIOError:
            pid, since = _read_holder(descriptor)
            os.close(descriptor)
            raise FolderLocked(folder, pid, since) from None
        except OSError as error:
            os.close(descriptor)
            raise FolderUnusable(f"{path}: {error.strerror}") from error
        return cls(folder, descriptor)

    def close(self) -> None:
        """Release the lock; again is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_holder(descriptor: int) -> tuple[int | None, str]:
    lines = os.pread(descriptor, LOCK_TEXT_BYTES_MAX, 0).decode("ascii", "replace").split("\n")
    pid = int(lines[0]) if lines[0].isdecimal() else None
    return pid, lines[1] if pid is not None and len(lines) > 1 else ""
