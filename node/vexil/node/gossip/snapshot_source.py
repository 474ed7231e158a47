"""A peer's snapshot as its reader meets it: one cut, read in order, whatever the connection does meanwhile.

A page that does not come is asked for again, smaller and after a pause with jitter, at the same cursor of the same
cut. When the peer does not keep the cut any more there is nothing to go on with: `SnapshotExpired`, begin again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from typing import Final

import trio

from vexil.node.gossip.messages import PAGE_BYTES_MIN, Malformed, Message
from vexil.node.gossip.snapshots import (
    EXPIRED,
    HEADER,
    HEADER_BYTES_MAX,
    KEYS,
    OBJECTS,
    PAGE_BYTES,
    START,
    Cursor,
    cursor_of,
    decode_keys,
)
from vexil.node.idempotency import KEYS_MAX, Remembered
from vexil.node.seams import PeerNonsense, PeerRefused, PeerUnreachable

FRAME_BYTES: Final = 4 << 20
TRIES_MAX: Final = 6
"""Of one page that does not come; with pauses that double this outlasts a peer's restart of its network."""
PAUSE_MS_MIN: Final = 100
PAUSE_MS_MAX: Final = 5_000
BYTES_MAX: Final = 16 << 30
"""Of one snapshot's pages: a peer that goes on for ever is left."""

PASSING: Final = frozenset({"node.busy", "node.not_ready", "link.cut"})
"""Refusals of a peer that may answer in a moment."""

Ask = Callable[[Mapping[str, object]], Awaitable[Message]]
"""Sends one ``snapshot`` request. Raises PeerError."""


class SnapshotExpired(PeerRefused):
    """The peer does not keep the cut any more."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a cut has in it, as its sender says."""

    cut: int
    header_bytes: int
    objects: int
    keys: int
    hlc: int


class SnapshotSource:
    """One cut of one project at one peer. Errors are `PeerError`."""

    def __init__(self, ask: Ask, project: str, manifest: Manifest, rng: Random) -> None:
        """The cut that ``manifest`` names; see `begin`."""
        self.manifest = manifest
        self.page_bytes = PAGE_BYTES
        self.bytes = 0
        """Of pages that have come."""
        self._ask = ask
        self._project = project
        self._rng = rng

    @classmethod
    async def begin(cls, ask: Ask, project: str, rng: Random) -> SnapshotSource:
        """Have the peer take a cut. It is tried once: who asks may ask another peer."""
        answer = await ask({"project": project})
        try:
            manifest = Manifest(
                answer.integer("cut"),
                answer.integer("header_bytes"),
                answer.integer("objects"),
                answer.integer("keys"),
                answer.integer("hlc"),
            )
        except Malformed as error:
            raise PeerNonsense(str(error)) from None
        if not manifest.cut or manifest.header_bytes > HEADER_BYTES_MAX or manifest.keys > KEYS_MAX:
            raise PeerNonsense("a snapshot without a number, or over its limits")
        return cls(ask, project, manifest, rng)

    async def header(self) -> bytes:
        """The whole header."""
        pieces = []
        left = self.manifest.header_bytes
        async with aclosing(self._pages(HEADER)) as pages:
            async for piece in pages:
                left -= len(piece)
                if left < 0:
                    raise PeerNonsense("a header that is longer than was said")
                pieces.append(piece)
        if left:
            raise PeerNonsense("a header that is shorter than was said")
        return b"".join(pieces)

    def objects(self) -> AsyncGenerator[bytes, None]:
        """The pages of cells, not looked into; to be closed."""
        return self._pages(OBJECTS)

    async def keys(self) -> list[tuple[str, Remembered]]:
        """Every idempotency key, in order."""
        keys: list[tuple[str, Remembered]] = []
        async with aclosing(self._pages(KEYS)) as pages:
            async for page in pages:
                try:
                    keys += decode_keys(page)
                except Malformed as error:
                    raise PeerNonsense(str(error)) from None
                if len(keys) > self.manifest.keys:
                    break
        if len(keys) != self.manifest.keys:
            raise PeerNonsense("not as many keys as were said")
        return keys

    async def _pages(self, part: str) -> AsyncGenerator[bytes, None]:
        cursor: Cursor | None = START
        while cursor is not None:
            page, following = await self._page(part, cursor)
            self.bytes += len(page)
            if self.bytes > BYTES_MAX:
                raise PeerNonsense(f"a snapshot of more than {BYTES_MAX} bytes")
            yield page
            if following is not None and not (page and following > cursor):
                raise PeerNonsense("a snapshot that does not go on")
            cursor = following

    async def _page(self, part: str, cursor: Cursor) -> tuple[bytes, Cursor | None]:
        pause_ms: float = PAUSE_MS_MIN
        for last in (*[False] * (TRIES_MAX - 1), True):
            try:
                answer = await self._ask(
                    {
                        "project": self._project,
                        "cut": self.manifest.cut,
                        "part": part,
                        "after": cursor.after.encode(),
                        "at": cursor.skip,
                        "page_bytes": self.page_bytes,
                    }
                )
            except (PeerUnreachable, PeerRefused) as error:
                if isinstance(error, PeerRefused) and error.code == EXPIRED:
                    raise SnapshotExpired(error.code, error.detail) from None
                if last or (isinstance(error, PeerRefused) and error.code not in PASSING):
                    raise
                self.page_bytes = max(self.page_bytes // 2, PAGE_BYTES_MIN)
                await trio.sleep(pause_ms * self._rng.uniform(0.5, 1.5) / 1000)
                pause_ms = min(pause_ms * 2, PAUSE_MS_MAX)
                continue
            self.page_bytes = min(self.page_bytes * 2, PAGE_BYTES)
            try:
                page = answer.blob("page", limit_bytes=FRAME_BYTES)
                return page, cursor_of(answer) if answer.flag("more") else None
            except Malformed as error:
                raise PeerNonsense(str(error)) from None
        raise AssertionError("the last try returns or raises")
