"""Two nodes and the wire between them, on which a test may hold, change, repeat or lose whatever is asked and told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack
import pytest
import trio

from tests.unit.node.engine.world import (
    SHOP,
    Caller,
    Embedded,
    Place,
    Switchboard,
    check_roots,
    make_shop,
    running,
    sets,
    shop,
    write,
)
from tests.unit.node.engine.world import creates as creates_flag
from vexil.node.engine import Engine
from vexil.node.gossip import messages
from vexil.node.gossip import snapshots as serving
from vexil.node.gossip.peers import Peer
from vexil.node.seams import (
    FoldEntry,
    LogRecord,
    MemberRow,
    PeerAddress,
    PeerIdentity,
    Store,
    StoreUnavailable,
)

EU = "eu-1"
US = "us-1"
FLAGS = 40
SMALL_PAGE = 2_000

Handle = Callable[[bytes], Awaitable[bytes]]
Meddle = Callable[[str, dict[str, Any], Handle], Awaitable[bytes]]
"""Gets method, request and what hands a request on; returns the answer, or raises a PeerError."""


@dataclass
class Wire(Switchboard):
    """A switchboard whose calls by ``us-1`` may be meddled with."""

    meddle: Meddle | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Every request for a snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.meddle = None
        self.asked = []

    def of(self, identity: PeerIdentity) -> Caller:
        return _Meddled(self, identity)


class _Meddled(Caller):
    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        board = self.board
        assert isinstance(board, Wire)

        async def hand_on(raw: bytes) -> bytes:
            return await Caller.call(self, peer, method, raw, timeout_ms=timeout_ms)

        request = msgpack.unpackb(body)
        if method == "snapshot":
            board.asked.append(request)
        if board.meddle is None or self.identity.node != US:
            return await hand_on(body)
        return await board.meddle(method, request, hand_on)


@dataclass
class Two:
    """``eu-1``, whose log is short, and ``us-1``, which was away for longer than that."""

    wire: Wire
    eu_place: Place
    us_place: Place
    eu: Engine
    nursery: trio.Nursery
    us: Engine = field(init=False)
    _scope: trio.CancelScope = field(init=False)
    _ended: trio.Event = field(init=False)

    async def start_us(self, store: Callable[[Place], Store] | None = None) -> None:
        """Start a process of ``us-1``; it is ready on return."""
        self.us = self.us_place.engine(store=None if store is None else store(self.us_place))
        self._ended = trio.Event()
        await self.nursery.start(self._run_us)

    async def _run_us(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            with trio.CancelScope() as self._scope:
                async with running(self.us):
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self._ended.set()

    async def kill_us(self) -> None:
        """End the process of ``us-1`` as a crash does."""
        self._scope.cancel()
        await self._ended.wait()

    @property
    def peer(self) -> Peer:
        """``eu-1`` as ``us-1`` knows it."""
        return self.us.peers[EU]

    async def pull(self) -> None:
        """What ``us-1`` does when a digest has told it that it lacks something."""
        await self.us._exchange.pull(self.peer, shop(self.us))

    def link(self, *, cut: bool) -> None:
        """Cut the link between the two, or mend it."""
        self.eu.links.set(EU, US, cut=cut)

    async def forget_log(self) -> None:
        """``eu-1`` drops every row of the project that its fold has."""
        await forget_log(self.eu)

    def same(self) -> bool:
        """Whether both have the same state of the project."""
        return state(self.eu) == state(self.us)


def state(engine: Engine) -> tuple[dict[int, int], list[bytes]]:
    """Vector and canonical state."""
    replica = shop(engine).replica
    return dict(replica.vv), list(replica.canonical())


async def forget_log(engine: Engine) -> None:
    """Drop every row of the project that the fold has."""
    await engine.drain()
    through = dict(shop(engine).replica.vv)
    await engine.seams.journal.trim(SHOP, through)
    await engine.seams.store.trim_changes(SHOP, through)


async def fill(engine: Engine, prefix: str, count: int = FLAGS) -> None:
    """Write ``count`` flags."""
    for number in range(count):
        await write(engine, creates_flag(f"{prefix}{number:03}", description="x" * 300))


class FailingStore(Embedded):
    """A store some of whose methods fail for as long as they are in ``failing``, from the ``spared``-th call on."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.region, place.name)
        self.failing: set[str] = set()
        self.spared = 0
        self.failures = 0

    def _may_fail(self, method: str) -> None:
        if method in self.failing:
            self.spared -= 1
            if self.spared < 0:
                self.failures += 1
                raise StoreUnavailable("the disk is full")

    async def write_fold(self, project: str, entries: Sequence[FoldEntry], *, checkpoint: int = 0) -> None:
        self._may_fail("write_fold")
        await super().write_fold(project, entries, checkpoint=checkpoint)

    async def write_member(self, row: MemberRow) -> None:
        self._may_fail("write_member")
        await super().write_member(row)

    async def drop_fold(self, project: str, checkpoint: int) -> None:
        self._may_fail("drop_fold")
        await super().drop_fold(project, checkpoint)

    async def write_past(self, project: str, records: Sequence[LogRecord]) -> None:
        self._may_fail("write_past")
        await super().write_past(project, records)


@asynccontextmanager
async def two(
    *, behind: bool = True, embedded: bool = False, store: Callable[[Place], Store] | None = None
) -> AsyncIterator[Two]:
    """Both run and know each other; if ``behind``, the project has moved on where ``us-1`` cannot follow its log.

    ``embedded``: journal and store of ``us-1`` are one.
    """
    wire = Wire()
    eu_place = Place(EU, board=wire)
    us_place = Place(US, board=wire, seeds=(f"p://{EU}",), embedded=embedded)
    async with running(eu_place.engine()) as eu, trio.open_nursery() as nursery:
        await make_shop(eu, members=())
        await write(eu, creates_flag("first"))
        both = Two(wire, eu_place, us_place, eu, nursery)
        await both.start_us(store)
        with trio.fail_after(30):
            while not shop(both.us).flag_keys():  # noqa: ASYNC110 - two nodes, looked at from outside
                await trio.sleep(0.1)
        await both.us.drain()
        if behind:
            both.link(cut=True)
            await fill(eu, "missed")
            await both.forget_log()
            both.link(cut=False)
        wire.asked.clear()
        yield both
        nursery.cancel_scope.cancel()


def make_pages_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every snapshot have many pages."""
    monkeypatch.setattr(serving, "PAGE_BYTES", SMALL_PAGE)
    monkeypatch.setattr(messages, "PAGE_BYTES_MIN", 100)


async def checkpoints(both: Two) -> list[int]:
    """Of which numbers ``us-1`` has folds of the project."""
    return list((await both.us.seams.store.fold_checkpoints())["shop"])


def own_checkpoint(both: Two) -> int:
    """The one that its row names."""
    assert both.us.writer is not None
    return both.us.writer.checkpoint("shop")


async def nothing_has_happened(both: Two, before: object) -> None:
    """The old state, nothing staged, and the node takes writes."""
    assert state(both.us) == before
    check_roots(both.us)
    assert shop(both.us).flag_keys() == ["first"]
    assert not shop(both.us).merging
    assert await checkpoints(both) == [own_checkpoint(both)]
    await write(both.us, sets("first", "description", "still here"))
