"""Backups as files on this machine: written wholly or not at all, and read as a stream.

A file has everything of its project in it, that of ``_system`` the hashes of all keys: only its owner may read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import click
import trio

from vexil.node.backup_file import BackupError
from vexil.node.backup_reading import Backup, read_backup
from vexil.node.cli.errors import CommandFailed
from vexil.node.dev.private_file import FILE_MODE
from vexil.node.staging import Progress

SUFFIX = ".vexil-backup"
CHUNK_BYTES = 128 << 10


def save(pieces: Iterable[bytes], target: Path, *, project: str, show: bool) -> Backup:
    """Write a file that is whole to ``target``, in the place of what is there; else leave that as it was.

    What is written is read at the same time, as a verification does. Raises CommandFailed, and what ``pieces`` raises.
    """
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                backup = _read(
                    _written(pieces, file), f"what the node sends of {project}", project, show=show
                )
                file.flush()
                os.fsync(file.fileno())
            if backup.manifest.project != project:
                raise CommandFailed(f"the node has sent {backup.manifest.project!r}, not {project!r}")
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise CommandFailed(f"{target} cannot be written: {error.strerror or error}") from error
    return backup


def verified(file: Path, *, show: bool) -> Backup:
    """The backup in ``file``, read to its end. Raises CommandFailed for what is none."""
    try:
        with file.open("rb") as opened:
            return _read(chunks_of(opened), str(file), file.name, show=show)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror or error}") from error


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of an open file."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _written(pieces: Iterable[bytes], file: BinaryIO) -> Iterator[bytes]:
    for piece in pieces:
        file.write(piece)
        yield piece


def _read(chunks: Iterable[bytes], what: str, label: str, *, show: bool) -> Backup:
    try:
        with _Bar(label, show=show) as bar:
            return trio.run(partial(read_backup, chunks, keep_rows=False, on_progress=bar.update))
    except BackupError as error:
        raise CommandFailed(f"{what} is no whole backup: {error}") from error


class _Bar:
    """How many objects have been read, on standard error; how many there are is known when the first have come."""

    def __init__(self, label: str, *, show: bool) -> None:
        self._label = label
        self._show = show
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def update(self, progress: Progress) -> None:
        if not self._show:
            return
        if self._bar is None:
            self._bar = click.progressbar(length=progress.of, label=self._label, file=sys.stderr)
            self._bar.__enter__()
        self._bar.update(progress.objects - self._bar.pos)
