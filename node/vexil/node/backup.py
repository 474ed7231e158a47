"""Making a backup: one project as it was at one instant, as the bytes of a file, while the node goes on.

The state is that of a cut, so writes are neither held up nor half in it. Nothing goes into a file that the region's
store does not hold yet. Behind the state come the rows of the log that made it, as far as the log still has them, each
checked as one from a peer would be: what reads the file checks the same, and must find nothing to refuse.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final, Protocol, Self

import trio

from vexil.crdt.change import Undecodable, decode
from vexil.crdt.cut import Cut, TooManyCuts
from vexil.crdt.replica import Replica
from vexil.crdt.snapshot_page import pages
from vexil.node import errors
from vexil.node.backup_file import CELLS, KEYS, ROWS, Encoder, Manifest, encode_rows
from vexil.node.gossip.snapshots import key_page
from vexil.node.past_walk import PastWalk
from vexil.node.project import Project
from vexil.node.seams import Store, StoreError
from vexil.node.telemetry import Log

PAGE_BYTES: Final = 64 << 10
"""Each page is made and deflated in one turn of the event loop."""
ROWS_SCANNED: Final = 500
"""Rows of the log that are read at once."""
STORED_WAIT_MS: Final = 3_000
"""How long a backup waits for the region's store to hold the cut."""


class BackupHost(Protocol):
    """The node that is backed up."""

    @property
    def name(self) -> str:
        """The slot."""

    @property
    def last_hlc(self) -> int:
        """The highest stamp that this node has given or believed."""

    def wall_ms(self) -> int:
        """Our wall clock."""

    async def stored(self, project: str, vv: Mapping[int, int], *, timeout_ms: float) -> bool:
        """Wait until the region's store holds ``project`` up to ``vv``."""


class BackupStream:
    """The bytes of one file, in pieces; to be closed (`aclose`), which iterating to the end does as well."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
        """``rest`` has been begun."""
        self._first: bytes | None = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Itself."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        """Let go of the cut."""
        await self._rest.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


class Backups:
    """Makes backups, one at a time: a cut may come to hold the state of its project a second time."""

    def __init__(self, host: BackupHost, store: Store, log: Log) -> None:
        """None is being made."""
        self._host = host
        self._store = store
        self._log = log
        self._busy = False

    async def begin(self, project: Project) -> BackupStream:
        """The file of ``project`` as it is now.

        A log that cannot be read ends the stream before its end, which every reader of it sees. Raises RateLimited
        while another one is being made, DurabilityUnavailable while the region's store is behind.
        """
        if self._busy:
            raise errors.RateLimited("another backup is being made here")
        self._busy = True
        frames = self._frames(project)
        try:
            return BackupStream(await anext(frames), frames)
        except BaseException:
            await frames.aclose()
            self._busy = False
            raise

    async def _frames(self, project: Project) -> AsyncGenerator[bytes, None]:
        try:
            try:
                cut = project.replica.cut()
            except TooManyCuts:
                raise errors.RateLimited("this state is being read by too many") from None
            with cut:
                async with aclosing(self._of_cut(project, cut, dict(project.replica.retired))) as pieces:
                    async for piece in pieces:
                        yield piece
        finally:
            self._busy = False

    async def _of_cut(
        self, project: Project, cut: Cut, retired: Mapping[int, int]
    ) -> AsyncGenerator[bytes, None]:
        encoder = Encoder()
        keys = project.idempotency.entries()
        hlc = self._host.last_hlc
        for _ in cut.sort():
            await trio.lowlevel.checkpoint()
        manifest = Manifest(
            project=project.name,
            node=self._host.name,
            time_ms=self._host.wall_ms(),
            environments=project.environments,
            bucketing=project.bucketing,
            hlc=hlc,
            header=cut.header,
            objects=cut.size,
            keys=len(keys),
        )
        if not await self._host.stored(project.name, cut.vv, timeout_ms=STORED_WAIT_MS):
            raise errors.DurabilityUnavailable("the region's store does not hold this state yet")
        yield encoder.begin(manifest)
        for page in pages(cut.objects(), page_bytes=PAGE_BYTES):
            yield encoder.frame(CELLS, page.raw)
            await trio.lowlevel.checkpoint()
        at = 0
        while at < len(keys):
            content, following = key_page(keys, at, PAGE_BYTES)
            at = len(keys) if following is None else following.skip
            yield encoder.frame(KEYS, content)
        try:
            async with aclosing(self._rows(project.name, cut, retired)) as pieces:
                async for rows in pieces:
                    yield encoder.frame(ROWS, encode_rows(rows))
        except StoreError as error:
            self._log.warning("a backup has broken off", project=project.name, error=str(error))
            return
        yield encoder.end()

    async def _rows(
        self, project: str, cut: Cut, retired: Mapping[int, int]
    ) -> AsyncGenerator[list[bytes], None]:
        """The rows behind the cut, newest first, in bounded pages."""
        heads = Replica()
        heads.load_header(cut.header)
        walk = PastWalk.behind(cut.vv, retired, heads.heads())
        cursor: str | None = None
        size = 0
        while rows := await self._store.read_history(project, before=cursor, limit=ROWS_SCANNED):
            for row in rows:
                cursor = row.cursor
                try:
                    taken = walk.offer(project, decode(row.raw))
                except Undecodable:
                    # What is before it in its incarnation is left out as well: nobody could tell that it is true.
                    continue
                if taken:
                    size += len(row.raw)
                if size >= PAGE_BYTES:
                    yield [record.raw for record in walk.records]
                    walk.records, size = [], 0
            await trio.lowlevel.checkpoint()
        if walk.records:
            yield [record.raw for record in walk.records]
