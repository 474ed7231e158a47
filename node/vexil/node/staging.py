"""The pages of a snapshot on their way into this node: to disk as a checkpoint that nobody reads yet, and into memory.

A page is taken on trust in nothing but who sent it. Names must ascend, no cell may come twice, there must be as many
objects as were said, nothing may be above the vector, and all of it must add up to the root hash that came first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from sys import intern
from typing import Final

import trio

from vexil.crdt import cell as cells
from vexil.crdt.change import Dot
from vexil.crdt.replica import HASH_BITS, Replica, cell_sum, generation_counts
from vexil.crdt.snapshot_page import Broken, read_page
from vexil.node.seams import FoldEntry, PeerNonsense, SeamError

STAGE_CELLS: Final = 1_000
"""So many cells are taken, and checked, in one turn of the event loop (some ten milliseconds)."""

Write = Callable[[str, int, list[FoldEntry]], Awaitable[None]]
"""Writes entries of a project into a checkpoint. Raises StoreError."""


@dataclass(slots=True)
class Progress:
    """A snapshot that is being taken, for status."""

    peer: str
    objects: int = 0
    of: int = 0


def entries_of(name: str, generation: Dot, field: str, packed: bytes) -> list[FoldEntry]:
    """A cell as the rows of a fold."""
    return [
        FoldEntry(name, generation, field, e.incarnation, e.packed, e.lane_seq, e.seen_seq)
        for e in cells.entries(packed)
    ]


class Staging:
    """One snapshot while it comes. ``incoming`` has its header already and is given its cells."""

    def __init__(
        self, write: Write, project: str, checkpoint: int, incoming: Replica, progress: Progress
    ) -> None:
        """Nothing has come; ``progress.of`` is how many objects there will be."""
        self._write = write
        self._project = project
        self._checkpoint = checkpoint
        self._incoming = incoming
        self._progress = progress
        self._last: str | None = None
        self._sums: dict[Dot, int] = {}
        """Of the last object: per generation what is in the root hash if it counts."""
        self._root = 0
        """Of the objects before the last one."""
        self._highest: dict[int, int] = {}
        """Per incarnation the highest seq that any cell names."""

    async def page(self, raw: bytes) -> None:
        """Take one page. Raises PeerNonsense, StoreError."""
        empty = True
        try:
            cells_of_page = read_page(raw)
            while entries := self._take(islice(cells_of_page, STAGE_CELLS), first=empty):
                empty = False
                await self._write(self._project, self._checkpoint, entries)
        except Broken as error:
            raise PeerNonsense(f"{self._project}: {error}") from None
        if empty and self._progress.of:
            raise PeerNonsense(f"{self._project}: an empty page")

    def _take(
        self, page: Iterable[tuple[str, Dot, str, bytes, cells.Flat]], *, first: bool
    ) -> list[FoldEntry]:
        """The next cells: each is unpacked once, for its rows, its part of the root hash and its seqs."""
        entries: list[FoldEntry] = []
        generation: Dot | None = None
        fields: dict[str, bytes] = {}
        highest, sums = self._highest, self._sums
        for name, dot, field, packed, flat in page:
            if name != self._last:
                if first and self._last is not None and name < self._last:
                    raise PeerNonsense(
                        f"{self._project}: a page that does not go on where the last one ended"
                    )
                self._end_object()
                self._last = name
                sums = self._sums
                generation = None
                self._progress.objects += 1
                if self._progress.objects > self._progress.of:
                    raise PeerNonsense(f"{self._project}: more objects than were said")
            first = False
            if dot != generation:
                generation = dot
                fields = self._incoming.fields(name, dot)
            if field in fields:
                raise PeerNonsense(f"{self._project}: a cell of {name!r} comes twice")
            fields[intern(field)] = packed
            sums[dot] = sums.get(dot, 0) + cell_sum(name, dot, field, flat)
            if len(flat) == cells.WIDTH:
                entries.append(FoldEntry(name, dot, field, flat[0], packed[1:], flat[1], flat[4]))
            else:
                entries += entries_of(name, dot, field, packed)
            for i in range(0, len(flat), cells.WIDTH):
                if flat[i + 1] > highest.get(flat[i], 0):
                    highest[flat[i]] = flat[i + 1]
                if flat[i + 6] > highest.get(flat[i + 5], 0):
                    highest[flat[i + 5]] = flat[i + 6]
        return entries

    def _end_object(self) -> None:
        if self._last is None:
            return
        generations = self._incoming.objects[self._last]
        for generation, part in self._sums.items():
            if generation_counts(generation, generations[generation]):
                self._root += part
        self._sums = {}

    def end(self) -> None:
        """Everything has come: check that it is what the header was made of. Raises PeerNonsense."""
        if self._progress.objects != self._progress.of:
            raise PeerNonsense(f"{self._project}: fewer objects than were said")
        self._end_object()
        self._incoming.settle_retired()
        known = self._incoming.known
        if any(seq > known(incarnation) for incarnation, seq in self._highest.items()):
            # The change that wrote it would later be applied a second time.
            raise PeerNonsense(f"{self._project}: a cell is ahead of the header's vector")
        if self._root & ((1 << HASH_BITS) - 1) != self._incoming.root:
            raise PeerNonsense(f"{self._project}: the cells do not make the root hash that the header says")


async def in_step(pages: AsyncGenerator[bytes, None], use: Callable[[bytes], Awaitable[None]]) -> None:
    """``use`` each page while the next one is on its way. Raises what either of them does, a SeamError."""
    failures: list[SeamError] = []
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[bytes](0)

        async def fetch() -> None:
            async with send, aclosing(pages):
                try:
                    async for page in pages:
                        await send.send(page)
                except SeamError as error:  # told outside the nursery, which would wrap it
                    failures.append(error)

        nursery.start_soon(fetch)
        async with receive:
            try:
                async for page in receive:
                    await use(page)
            except SeamError as error:
                failures.append(error)
                nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
