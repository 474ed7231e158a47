"""What a node keeps of changes that it cannot take in is bounded; beyond it nothing is lost and nobody is harmed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgpack
import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    Place,
    Stranger,
    check_roots,
    creates,
    make_shop,
    node,
    push,
    running,
    shop,
    state_of,
    write,
)
from vexil.crdt.pen import CellWrite
from vexil.node import alarms, forks, project
from vexil.node.engine import Engine
from vexil.node.gossip import intake, messages
from vexil.node.seams import PeerIdentity

EU_1 = PeerIdentity("eu-1", "eu")
EU_3 = PeerIdentity("eu-3", "eu")
"""A member that nothing listens for: what it says cannot be made good by a pull from it."""


@asynccontextmanager
async def beside_one_that_has(log: Stranger) -> AsyncIterator[tuple[Engine, Engine]]:
    """eu-1 without ``log``, which eu-2 has. Neither asks by itself."""
    near = Place()
    async with running(near.engine()) as engine:
        await make_shop(engine, members=(EU_3,))
        far = Place("eu-2", board=near.board, seeds=("p://eu-1",))
        async with running(far.engine()) as other:
            await trio.sleep(3)
            await push(other, log.log, caller=EU_1, registration=engine.registration)
            yield engine, other


async def test_what_does_not_fit_among_the_waiting_comes_with_the_next_pull(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "WAITING_MAX", 3)
    theirs = Stranger()
    for n in range(8):
        theirs.create(f"f{n}")
    async with beside_one_that_has(theirs) as (engine, other):
        answer = await push(engine, theirs.log[1:], caller=EU_3)
        assert answer.names("gaps") == ["shop"]
        assert sorted(shop(engine).waiting) == [(0x99, 2), (0x99, 3), (0x99, 4)]
        await push(engine, theirs.log[:1], caller=EU_3)
        await trio.sleep(1)
        assert shop(engine).replica.vv == {0x99: 4}
        await engine._exchange.pull(engine.peers["eu-2"], shop(engine))
        assert state_of(engine) == state_of(other)
        assert not shop(engine).waiting


async def test_a_large_change_does_not_wait_and_comes_with_the_next_pull(autojump_clock: object) -> None:
    theirs = Stranger()
    theirs.create("cause")
    first = theirs.create("fits")
    most = project.WAITING_CHANGE_BYTES_MAX - len(first.raw) - 100
    fits = theirs.write([CellWrite("flag/fits", first.dot, "description", "x" * most)])
    large = theirs.write([CellWrite("flag/fits", first.dot, "description", "x" * (most + 1_000))])
    assert len(fits.raw) <= project.WAITING_CHANGE_BYTES_MAX < len(large.raw)
    async with beside_one_that_has(theirs) as (engine, other):
        assert (await push(engine, [first, fits, large], caller=EU_3)).names("gaps") == ["shop"]
        assert sorted(shop(engine).waiting) == [first.dot, fits.dot]
        await push(engine, theirs.log[:1], caller=EU_3)
        await trio.sleep(1)
        assert shop(engine).replica.vv == {0x99: 3}
        await engine._exchange.pull(engine.peers["eu-2"], shop(engine))
        assert state_of(engine) == state_of(other)


def undecodable(incarnation: int) -> bytes:
    return bytes(msgpack.packb([99, incarnation, 1, "a future"]))


async def test_beyond_so_many_stopped_incarnations_a_bad_change_is_refused_all_the_same(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "STOPPED_MAX", 2)
    async with node() as (place, engine):
        bad = [undecodable(0xB0 + n) for n in range(4)]
        good = Stranger(0xA1)
        for n, raw in enumerate(bad):
            await push(engine, [raw, good.create(f"f{n}")])
        assert shop(engine).stopped == {0xB0, 0xB1}
        assert shop(engine).flag_keys() == ["f0", "f1", "f2", "f3"]
        assert shop(engine).replica.vv == {0xA1: 4}
        await trio.sleep(1)
        assert sorted(r.raw for r in await place.store().read_aside()) == bad
        # It is told as long as it comes, and kept once.
        await push(engine, bad)
        assert engine.alarms.aside_count == 4
        check_roots(engine)


async def test_beyond_so_many_refused_changes_the_oldest_is_not_recognised_and_not_kept_twice(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "ASIDE_REMEMBERED_MAX", 2)
    async with node() as (place, engine):
        bad = [undecodable(0xB0 + n) for n in range(3)]
        await push(engine, bad)
        assert engine.alarms.aside_count == 3
        await push(engine, bad[1:])
        assert engine.alarms.aside_count == 3
        await push(engine, bad[:1])
        assert engine.alarms.aside_count == 4
        await trio.sleep(1)
        assert sorted(r.raw for r in await place.store().read_aside()) == bad


async def test_beyond_so_many_known_forks_our_own_is_met_all_the_same(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "FORKED_MAX", 2)
    async with node() as (_, engine):
        await write(engine, creates("before"))
        before = engine.incarnation
        await tell_of_forks(engine, [0xF1, 0xF2, 0xF3])
        assert len(engine.forks.incarnations) == 2
        assert engine.incarnation == before
        await tell_of_forks(engine, [before])
        assert engine.incarnation != before
        assert len(engine.forks.incarnations) == 2
        written = await write(engine, creates("after"))
        assert written.dot == (engine.incarnation, 1)
        assert shop(engine).flag_keys() == ["after", "before"]


async def tell_of_forks(engine: Engine, incarnations: list[int]) -> None:
    """A digest of eu-2 that knows of these."""
    told = {"wall_ms": engine.wall_ms(), "ages": {}, "projects": {}, "forked": incarnations}
    await engine.peer_service.serve(EU_2, "digest", messages.encode(told))
