"""What waits for a peer is bounded; what does not fit is not sent, and the peer finds it by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from tests.unit.node.engine.world import (
    SHOP,
    Place,
    Stranger,
    creates,
    make_shop,
    push,
    running,
    shop,
    state_of,
    write,
)
from vexil.crdt.change import Change
from vexil.node.engine import Engine
from vexil.node.gossip import exchange, loops, service
from vexil.node.seams import PeerIdentity

EU_1 = PeerIdentity("eu-1", "eu")


@asynccontextmanager
async def two_nodes(*, digests: bool = False) -> AsyncIterator[tuple[Place, Engine, Place, Engine]]:
    """eu-1 and eu-2, level, with the project ``shop``; only eu-2 asks by itself, if anybody does."""
    near = Place()
    far = Place("eu-2", board=near.board, seeds=("p://eu-1",), digests=digests)
    async with running(near.engine()) as engine:
        await make_shop(engine, members=())
        async with running(far.engine()) as other:
            await trio.sleep(3)
            assert state_of(other) == state_of(engine)
            yield near, engine, far, other


async def bring(other: Engine, engine: Engine, changes: Sequence[Change], *, project: str = SHOP) -> None:
    """``engine`` (eu-1) seems to push to ``other`` what it does not have itself."""
    await push(other, changes, project=project, caller=EU_1, registration=engine.registration)


def queued_bytes(engine: Engine, peer: str) -> int:
    return sum(len(raw) for _, raw in engine.loops._outbox(peer).changes)


async def test_a_change_that_does_not_fit_its_queue_is_found_by_the_peer_by_its_digest(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_bytes = 2_000
    monkeypatch.setattr(loops, "PUSH_QUEUE_BYTES_MAX", limit_bytes)
    async with two_nodes(digests=True) as (near, engine, far, other):
        far.journal.hold()
        await write(engine, creates("first"))
        await trio.sleep(0.1)
        assert far.journal.waiting, "this push is under way and keeps its peer busy"
        sizes = []
        for n in range(30):
            await write(engine, creates(f"f{n}"))
            sizes.append(queued_bytes(engine, "eu-2"))
        assert limit_bytes / 2 < max(sizes) <= limit_bytes, "up to the bound they wait"
        assert max(sizes[sizes.index(0) :]) > limit_bytes / 2, "and again when it was emptied"
        near.board.calls.clear()
        far.journal.let_go()
        await trio.sleep(5)
        assert ("eu-2", "p://eu-1", "pull") in near.board.calls
        assert state_of(other) == state_of(engine)
        assert len(shop(other).flag_keys()) == 31


async def test_a_change_larger_than_the_queue_leaves_nothing_behind_and_the_next_one_brings_it(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "PUSH_QUEUE_BYTES_MAX", 1_000)
    async with two_nodes() as (near, engine, _, other):
        near.board.calls.clear()
        await write(engine, creates("large", description="x" * 2_000))
        await trio.sleep(5)
        assert queued_bytes(engine, "eu-2") == 0
        assert near.board.calls == []
        # What comes after it is pushed; the gap before it tells the peer to pull.
        await write(engine, creates("small"))
        await trio.sleep(5)
        assert ("eu-2", "p://eu-1", "pull") in near.board.calls
        assert shop(other).flag_keys() == ["large", "small"]
        assert state_of(other) == state_of(engine)


async def test_wanted_pulls_are_bounded_and_the_others_come_with_a_digest(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "PULLS_WANTED_MAX", 2)
    async with two_nodes() as (_, engine, _, other):
        names = [SHOP, "a", "b", "c"]
        for name in names:
            await bring(other, engine, [Stranger().create("theirs")], project=name)
            assert engine.open_project(name) is not None
        for name in names:
            engine.loops.want_pull("eu-2", name)
        await trio.sleep(5)
        assert [name for name in names if engine.projects[name].replica.vv] == names[:2]
        await engine._exchange.sync(engine.peers["eu-2"])
        assert state_of(engine) == state_of(other)
        # And there is room again.
        for name in ("d", "e"):
            await bring(other, engine, [Stranger().create("theirs")], project=name)
            assert engine.open_project(name) is not None
            engine.loops.want_pull("eu-2", name)
        await trio.sleep(5)
        assert state_of(engine) == state_of(other)


async def test_a_pull_asks_for_so_many_pages_and_the_next_one_goes_on_from_there(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "PAGES_PER_PULL_MAX", 3)
    async with two_nodes() as (near, engine, _, other):
        theirs = Stranger()
        for n in range(8):
            theirs.create(f"f{n}")
        await bring(other, engine, theirs.log)
        peer = engine.peers["eu-2"]
        reached = []
        for _ in range(3):
            peer.page_bytes = 1  # a page holds one change at least
            near.board.calls.clear()
            await engine._exchange.pull(peer, shop(engine))
            # One is asked for while the last one is taken.
            assert near.board.calls.count(("eu-1", "p://eu-2", "pull")) <= 3 + 1
            reached.append(shop(engine).replica.vv[0x99])
        assert reached == [3, 6, 8]
        assert not shop(engine).pulling
        assert state_of(engine) == state_of(other)


async def test_heads_in_one_digest_are_bounded_and_the_rest_comes_with_later_ones(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DIGEST_BYTES_MAX", 1)
    async with two_nodes() as (_, engine, _, other):
        names = [SHOP, "a", "b", "c"]
        for name in names:
            await bring(other, engine, [Stranger().create("theirs")], project=name)
        await trio.sleep(10)
        level, fresh = [], []
        for _ in names:
            await engine._exchange.sync(engine.peers["eu-2"])
            level.append(sum(bool(p.replica.vv) for n, p in engine.projects.items() if n in names))
            age_ms = engine.freshness.age_ms("eu-2")
            fresh.append(age_ms is not None and age_ms < 1_000)
        assert level == [1, 2, 3, 4]
        assert fresh == [False, False, False, True], "not before everything is here"
        assert state_of(engine) == state_of(other)
