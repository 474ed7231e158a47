"""Reading a backup wholly, and taking nothing in it on trust: what a restore begins with, and all of a verification.

The cells are checked just as those of a peer's snapshot are (`vexil.node.staging`), into a state in memory alone; the
rows must be of the history that the state's heads name, without a gap. Whatever else the bytes are is a BackupError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import trio

from vexil.crdt.change import Undecodable, decode
from vexil.crdt.replica import Replica
from vexil.node.backup_file import (
    CELLS,
    KEYS,
    MANIFEST,
    BackupError,
    Decoder,
    Manifest,
    decode_manifest,
    decode_rows,
)
from vexil.node.gossip.messages import Malformed
from vexil.node.gossip.snapshots import decode_keys
from vexil.node.idempotency import Remembered
from vexil.node.past_walk import PastWalk
from vexil.node.seams import FoldEntry, LogRecord, PeerNonsense
from vexil.node.staging import Progress, Staging

OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Backup:
    """What a file that is whole has in it."""

    manifest: Manifest
    state: Replica
    keys: list[tuple[str, Remembered]] = field(default_factory=list)
    rows: list[LogRecord] = field(default_factory=list)
    """Newest first; none if they were not to be kept."""
    row_count: int = 0
    size: int = 0
    """Bytes of the file."""


async def read_backup(
    chunks: Iterable[bytes], *, keep_rows: bool = True, on_progress: OnProgress | None = None
) -> Backup:
    """All of the file whose bytes are ``chunks``. Raises BackupError; whatever ``chunks`` raises goes through."""
    decoder = Decoder()
    reading: _Reading | None = None
    for chunk in chunks:
        for kind, content in decoder.feed(chunk):
            if kind == MANIFEST:
                reading = _Reading(decode_manifest(content), keep_rows=keep_rows)
            else:
                assert reading is not None, "a manifest comes first"
                await reading.take(kind, content)
                if on_progress is not None:
                    on_progress(reading.progress)
        await trio.lowlevel.checkpoint()
    decoder.close()
    if reading is None:
        raise BackupError("a file without a manifest")
    await reading.end()
    reading.backup.size = decoder.size
    return reading.backup


async def _nowhere(_project: str, _checkpoint: int, _entries: list[FoldEntry]) -> None:
    """Reading writes nothing: it gives others their turn."""
    await trio.lowlevel.checkpoint()


class _Reading:
    """One file on its way in."""

    def __init__(self, manifest: Manifest, *, keep_rows: bool) -> None:
        self.backup = Backup(manifest, Replica())
        self.progress = Progress(manifest.node, of=manifest.objects)
        self._keep_rows = keep_rows
        try:
            self.backup.state.load_header(manifest.header)
        except ValueError as error:
            raise BackupError(str(error)) from None
        self._staging = Staging(_nowhere, manifest.project, 0, self.backup.state, self.progress)
        self._cells_ended = False
        self._walk: PastWalk | None = None

    async def take(self, kind: int, content: bytes) -> None:
        """Take one frame."""
        if kind == CELLS:
            try:
                await self._staging.page(content)
            except PeerNonsense as error:
                raise BackupError(str(error)) from None
            return
        await self._end_cells()
        if kind == KEYS:
            self._take_keys(content)
        else:
            self._take_rows(content)

    async def end(self) -> None:
        """Nothing more comes."""
        await self._end_cells()
        if len(self.backup.keys) != self.backup.manifest.keys:
            raise BackupError("not as many idempotency keys as the file says")

    async def _end_cells(self) -> None:
        if self._cells_ended:
            return
        self._cells_ended = True
        try:
            self._staging.end()
        except PeerNonsense as error:
            raise BackupError(str(error)) from None

    def _take_keys(self, content: bytes) -> None:
        try:
            self.backup.keys += decode_keys(content)
        except Malformed as error:
            raise BackupError(str(error)) from None
        if len(self.backup.keys) > self.backup.manifest.keys:
            raise BackupError("more idempotency keys than the file says")

    def _take_rows(self, content: bytes) -> None:
        state, project = self.backup.state, self.backup.manifest.project
        walk = self._walk
        if walk is None:
            walk = self._walk = PastWalk.behind(state.vv, state.retired, state.heads())
        for raw in decode_rows(content):
            try:
                taken = walk.offer(project, decode(raw))
            except Undecodable as error:
                raise BackupError(f"a row that is no change: {error}") from None
            if not taken:
                raise BackupError("a row that is not of the history of this state")
        self.backup.row_count += len(walk.records)
        if self._keep_rows:
            self.backup.rows += walk.records
        walk.records = []
