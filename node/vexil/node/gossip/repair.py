"""Two states that should be equal and are not: serving the hash tree and the cells that a peer compares with its own.

Both methods name the vector (with its chain heads) by a hash: trees of different vectors say nothing of each other.
The cut that a tree was made from is kept for its reader, so writes that go on do not matter once it is taken.

======  ==========================================  ==================================================================
method  request                                     answer
======  ==========================================  ==================================================================
tree    project, ``vv_hash``                        the sums of all buckets; ``pending``: they are being made, ask again
cells   project, ``vv_hash``, buckets, cursor       a page of all objects of the buckets, and the cursor behind it
======  ==========================================  ==================================================================
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

import trio

from vexil.crdt.change import Dot
from vexil.crdt.cut import Cut, TooManyCuts
from vexil.crdt.hash_tree import (
    CHOICE_BYTES,
    SUMS_BYTES,
    HashTree,
    bucket_of,
    decode_choice,
    decode_sums,
    encode_choice,
    encode_sums,
)
from vexil.crdt.snapshot_page import Broken, Row, decode_page, encode_page, pages
from vexil.node.gossip import messages
from vexil.node.gossip.host import Host
from vexil.node.gossip.messages import Malformed, Message
from vexil.node.gossip.snapshots import Cursor, cursor_of
from vexil.node.seams import PeerIdentity, PeerNonsense, PeerRefused

TREE: Final = "tree"
CELLS: Final = "cells"
MOVED: Final = "project.moved"
PAGE_BYTES: Final = 256 << 10
SLICE_CELLS: Final = 500
"""Cells that are summed before other tasks get a turn: about a millisecond."""
SERVED_MAX: Final = 2
"""Trees that are kept, of all projects together; each has a cut."""
KEPT_S: Final = 30.0
TREE_WAIT_S: Final = 2.0
"""A request waits so long for its tree, which is less than its caller waits for the answer."""
ASKS_MAX: Final = 60
"""How often a caller asks for a tree that is being made."""
ASK_PAUSE_MS: Final = 200
PAGES_MAX: Final = 100_000
BYTES_MAX: Final = 16 << 30
_NAMED: Final = "/"

Ask = Callable[[str, Mapping[str, object]], Awaitable[Message]]
"""Sends one request by its method. Raises PeerError."""


async def build(cut: Cut, going_on: Callable[[], bool] = lambda: True, *, rest_ms: float = 0) -> HashTree:
    """The tree of a cut, in slices that leave the event loop to others for at least ``rest_ms``.

    Cut short when it need not go on.
    """
    tree = HashTree()
    size = 0
    if not going_on():
        return tree
    for name, generations in cut.unordered():
        tree.add(name, generations)
        size += sum(map(len, generations.values()))
        if size >= SLICE_CELLS:
            size = 0
            await trio.sleep(rest_ms / 1000)
            if not going_on():
                break
    return tree


@dataclass(slots=True)
class _Served:
    reader: str
    project: str
    vv_hash: str
    cut: Cut
    tree: HashTree | None = None
    made: trio.Event = field(default_factory=trio.Event)
    asked_s: float = field(default_factory=trio.current_time)
    choice: bytes = b""
    names: list[str] = field(default_factory=list)
    """The objects of ``choice``."""

    def objects(self, after: str | None) -> Iterator[tuple[str, Mapping[Dot, Mapping[str, bytes]]]]:
        start = 0 if after is None else bisect_right(self.names, after)
        for at in range(start, len(self.names)):
            yield self.names[at], self.cut.cells(self.names[at])


class RepairService:
    """Answers ``tree`` and ``cells``. `run` makes the trees."""

    def __init__(self, host: Host) -> None:
        """No tree yet."""
        self._host = host
        self._served: dict[tuple[str, str], _Served] = {}
        self._wake = trio.Event()

    @property
    def open_cuts(self) -> int:
        """How many cuts are kept."""
        return len(self._served)

    async def run(self) -> None:
        """Make trees, and drop those that nobody asks for any more, until cancelled."""
        try:
            while True:
                with trio.move_on_after(KEPT_S / 2):
                    await self._wake.wait()
                self._wake = trio.Event()
                self._expire()
                for served in [s for s in self._served.values() if s.tree is None]:
                    await self._make(served)
        finally:
            for served in list(self._served.values()):
                self._close(served)

    async def serve(self, caller: PeerIdentity, method: str, message: Message) -> bytes:
        """One request of a member. Raises PeerRefused, Malformed.

        Codes: ``node.not_ready``, ``node.busy``, ``project.unknown``, ``project.moved`` (the vectors differ by now).
        """
        if not self._host.ready:
            raise PeerRefused("node.not_ready", "this node is not level with the others yet")
        self._expire()
        served = self._of(caller, message.text("project"), message.text("vv_hash"), may_open=method == TREE)
        served.asked_s = trio.current_time()
        if method == TREE:
            with trio.move_on_after(TREE_WAIT_S):
                await served.made.wait()
            if served.tree is None:
                return messages.encode({"pending": True})
            return messages.encode({"sums": encode_sums(served.tree.sums)})
        return self._page(served, message)

    def _of(self, caller: PeerIdentity, name: str, vv_hash: str, *, may_open: bool) -> _Served:
        served = self._served.get((caller.node, name))
        if served is not None and served.vv_hash == vv_hash:
            return served
        if not may_open:
            raise PeerRefused(MOVED, "the tree of this vector is not kept any more")
        if served is not None:
            self._close(served)
        project = self._host.projects.get(name)
        if project is None:
            raise PeerRefused("project.unknown", f"{name!r} is not here")
        if project.replica.vv_hash() != vv_hash:
            raise PeerRefused(MOVED, "the vector is another one here")
        if len(self._served) >= SERVED_MAX:
            raise PeerRefused("node.busy", f"{SERVED_MAX} states are being compared with this one")
        try:
            cut = project.replica.cut()
        except TooManyCuts:
            raise PeerRefused("node.busy", f"too many cuts of {name!r} are in use") from None
        served = self._served[caller.node, name] = _Served(caller.node, name, vv_hash, cut)
        self._wake.set()
        return served

    async def _make(self, served: _Served) -> None:
        # While another tree was made its reader may have come with another vector: the cut is closed then.
        if self._kept(served):
            tree = await build(served.cut, lambda: self._kept(served))
            if self._kept(served):
                served.tree = tree
                served.asked_s = trio.current_time()
        served.made.set()

    def _kept(self, served: _Served) -> bool:
        return self._served.get((served.reader, served.project)) is served

    def _page(self, served: _Served, message: Message) -> bytes:
        choice = message.blob("buckets", limit_bytes=CHOICE_BYTES)
        cursor = cursor_of(message)
        wanted = message.integer_or("page_bytes", PAGE_BYTES)
        if served.tree is None:
            raise PeerRefused(MOVED, "there is no tree of this vector yet")
        if choice != served.choice:
            try:
                served.names = served.tree.chosen(decode_choice(choice))
            except ValueError as error:
                raise Malformed(f"buckets: {error}") from None
            served.choice = choice
        page_bytes = max(messages.PAGE_BYTES_MIN, min(wanted, PAGE_BYTES))
        objects = served.objects(cursor.after.removeprefix(_NAMED) if cursor.after else None)
        page = next(pages(objects, page_bytes=page_bytes, skip=cursor.skip), None)
        raw = encode_page(()) if page is None else page.raw
        self._host.count_bytes("sent", "payload", len(raw))
        answer: dict[str, object] = {"page": raw, "more": page is not None and page.more}
        if page is not None and page.more:
            after = cursor.after if page.after is None else _NAMED + page.after
            answer |= {"after": after.encode(), "at": page.skip}
        return messages.encode(answer)

    def _expire(self) -> None:
        now = trio.current_time()
        for served in list(self._served.values()):
            if now - served.asked_s > KEPT_S and (served.tree is not None or served.made.is_set()):
                self._close(served)

    def _close(self, served: _Served) -> None:
        self._served.pop((served.reader, served.project), None)
        served.cut.close()


# -- the calling side


async def ask_sums(ask: Ask, project: str, vv_hash: str, rng: Random) -> list[int]:
    """The peer's sums for the vector. Raises PeerError."""
    for _ in range(ASKS_MAX):
        answer = await ask(TREE, {"project": project, "vv_hash": vv_hash})
        try:
            if not answer.flag("pending"):
                return decode_sums(answer.blob("sums", limit_bytes=SUMS_BYTES))
        except (Malformed, ValueError) as error:
            raise PeerNonsense(str(error)) from None
        await trio.sleep(ASK_PAUSE_MS * rng.uniform(0.5, 1.5) / 1000)
    raise PeerNonsense("a tree that is never ready")


async def ask_cells(
    ask: Ask, project: str, vv_hash: str, buckets: Collection[int]
) -> AsyncIterator[list[Row]]:
    """The cells of all objects in ``buckets``, page by page, ascending by object. Raises PeerError."""
    wanted = frozenset(buckets)
    cursor = Cursor()
    last = ""
    size = 0
    for _ in range(PAGES_MAX):
        answer = await ask(
            CELLS,
            {
                "project": project,
                "vv_hash": vv_hash,
                "buckets": encode_choice(wanted),
                "after": cursor.after.encode(),
                "at": cursor.skip,
                "page_bytes": PAGE_BYTES,
            },
        )
        try:
            raw = answer.blob("page", limit_bytes=messages.FRAME_BYTES_MAX)
            rows = decode_page(raw)
            following = cursor_of(answer) if answer.flag("more") else None
        except (Malformed, Broken) as error:
            raise PeerNonsense(str(error)) from None
        size += len(raw)
        if size > BYTES_MAX or (rows and rows[0].object < last):
            raise PeerNonsense("pages that do not ascend, or do not end")
        if any(bucket_of(name) not in wanted for name in {row.object for row in rows}):
            raise PeerNonsense("an object that was not asked for")
        if rows:
            last = rows[-1].object
            yield rows
        if following is None:
            return
        if not rows or following <= cursor:
            raise PeerNonsense("pages that do not go on")
        cursor = following
    raise PeerNonsense(f"more than {PAGES_MAX} pages")
