"""Files that only their owner may read, and that are there wholly or not at all."""

from __future__ import annotations

import os
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def write_private(path: Path, text: str) -> None:
    """Replace the file at ``path`` by ``text`` in one step, on the disk on return; mode 0600 from its first byte."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def make_private_folder(path: Path) -> None:
    """Make the folder at ``path``, with its parents, unless it is there."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
