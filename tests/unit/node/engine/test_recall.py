"""A start does not wait for the idempotency keys of the last day; whoever needs them does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
import trio

from tests.unit.node.engine.world import (
    HELD_S_MAX,
    SHOP,
    Place,
    Stranger,
    creates,
    flag_writes,
    node,
    push,
    running,
    shop,
    write,
)
from vexil.chaos.world.simulated_store import SimulatedRegion, SimulatedStore
from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Change
from vexil.crdt.replica import Replica
from vexil.node import errors
from vexil.node.engine import Engine
from vexil.node.engine_types import Written
from vexil.node.idempotency import COMPLETE_WAIT_S, KEPT_MS
from vexil.node.project import Project
from vexil.node.recall import HISTORY_WAIT_S, RECENT_BATCH, Recall
from vexil.node.seams import HistoryRow, LogRecord, StoreUnavailable

KEY = ("key-1", b"the body's hash")


class HeldHistory:
    """A region's store that gives no history until it is let go, and fails as often as it is told to."""

    def __init__(self, inner: SimulatedStore) -> None:
        self._inner = inner
        self.gate = trio.Event()
        self.asked = trio.Event()
        self.failures = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def read_history(self, project: str, *, before: str | None, limit: int) -> Sequence[HistoryRow]:
        self.asked.set()
        with trio.fail_after(HELD_S_MAX):
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("not now")
        return await self._inner.read_history(project, before=before, limit=limit)


def held(place: Place) -> tuple[Engine, HeldHistory]:
    """The place's next process, on a store that holds its history back."""
    engine = place.engine()
    store = engine.seams.store
    assert isinstance(store, SimulatedStore)
    history = HeldHistory(store)
    engine.seams = replace(engine.seams, store=history)  # type: ignore[arg-type]  # it passes on what it lacks
    return engine, history


@asynccontextmanager
async def started_again() -> AsyncIterator[tuple[Engine, HeldHistory, Written]]:
    """A node that has come back to a log with `KEY` in it, and cannot read that yet."""
    async with node() as (place, before):
        first = await write(before, creates("a"), idempotency=KEY, durability="region")
        await before.drain()
    place.disk.wipe()
    engine, history = held(place)
    async with running(engine):
        yield engine, history, first


async def test_a_node_serves_while_the_keys_are_still_being_read(autojump_clock: object) -> None:
    async with started_again() as (engine, _, first):
        assert engine.ready
        assert shop(engine).flag_set("prod").flags["a"]["enabled"] is True
        second = await write(engine, creates("b"))
        assert second.hlc is not None
        assert first.hlc is not None
        assert second.hlc > first.hlc
        assert shop(engine).flag_keys() == ["a", "b"]


async def test_a_write_with_a_key_waits_until_it_can_be_looked_up(autojump_clock: object) -> None:
    async with started_again() as (engine, history, first):
        async with trio.open_nursery() as nursery:

            async def retry() -> None:
                again = await write(engine, creates("a"), idempotency=KEY)
                assert (again.dot, again.replayed) == (first.dot, True)

            nursery.start_soon(retry)
            await trio.sleep(COMPLETE_WAIT_S / 2)
            assert engine.pipeline.queued == 0
            history.gate.set()
        assert shop(engine).flag_keys() == ["a"]


async def test_a_write_with_a_key_is_refused_in_the_end_and_has_written_nothing(
    autojump_clock: object,
) -> None:
    async with started_again() as (engine, history, _):
        began_s = trio.current_time()
        with pytest.raises(errors.NodeNotReady) as told:
            await write(engine, creates("new"), idempotency=("key-2", b"x"))
        assert (told.value.code, told.value.definite) == ("node.not_ready", True)
        assert trio.current_time() - began_s == COMPLETE_WAIT_S
        assert shop(engine).flag_keys() == ["a"]
        history.gate.set()
        assert not (await write(engine, creates("new"), idempotency=("key-2", b"x"))).replayed


async def test_a_store_that_fails_is_asked_again(autojump_clock: object) -> None:
    async with started_again() as (engine, history, first):
        history.failures = 5
        history.gate.set()
        await trio.sleep(60)
        assert history.failures == 0
        again = await write(engine, creates("a"), idempotency=KEY)
        assert (again.dot, again.replayed) == (first.dot, True)


async def test_of_two_changes_with_one_key_the_older_one_stays_whichever_is_read_first(
    autojump_clock: object,
) -> None:
    async with started_again() as (engine, history, first):
        stranger = Stranger()
        await push(engine, [stranger.write(flag_writes("b"), idempotency=KEY)])
        await push(engine, [stranger.write(flag_writes("c"), idempotency=("since", b"y"))])
        since = shop(engine).idempotency.lookup("since")
        assert since is not None
        history.gate.set()
        await shop(engine).idempotency.until_complete()
        remembered = shop(engine).idempotency.lookup(KEY[0])
        assert remembered is not None
        assert remembered.dot == first.dot
        assert shop(engine).idempotency.lookup("since") == since


async def test_keys_on_several_pages_of_the_log_stand_for_their_first_changes_again(
    autojump_clock: object,
) -> None:
    stranger = Stranger(hlc_ms=Place().clock.wall_ms())
    count = RECENT_BATCH + 2
    async with node() as (place, before):
        changes = [stranger.write(flag_writes(f"f{n}"), idempotency=(f"k{n}", b"x")) for n in range(count)]
        # The same keys once more, by other changes.
        again = [stranger.write(flag_writes(f"g{n}"), idempotency=(f"k{n}", b"x")) for n in range(count)]
        await push(before, [*changes, *again])
        await before.drain()
    place.disk.wipe()
    async with running(place.engine()) as engine:
        await shop(engine).idempotency.until_complete()
        found = [shop(engine).idempotency.lookup(f"k{n}") for n in range(count)]
        assert [f.dot for f in found if f is not None] == [c.dot for c in changes]


# -- history that is yet to follow


class Behind:
    """A reading of a log whose history is yet to come, as long as ``coming`` says so."""

    def __init__(self, *, newest_ms: int = 0) -> None:
        self.wall_ms = 1_700_000_000_000
        self.stranger = Stranger(hlc_ms=newest_ms or self.wall_ms)
        self.store = SimulatedRegion(Random(1)).connect("eu-1")
        self.project = Project(SHOP, Replica(), on_defect=lambda *_: None)
        self.coming = True

    async def has(self, *changes: Change) -> None:
        await self.store.write_past(SHOP, [LogRecord(SHOP, *c.dot, c.raw) for c in changes])

    async def run(self) -> None:
        recall = Recall(
            self.store,
            {SHOP: self.project},
            wall_ms=self.wall_ms,
            believed=hlcs.HLC_MAX,
            rng=Random(2),
            on_failure=lambda error: pytest.fail(str(error)),
            follows=lambda name: name == SHOP and self.coming,
        )
        await recall.run()


async def test_keys_that_came_with_a_snapshot_are_waited_for_until_its_history_has_followed(
    autojump_clock: object,
) -> None:
    behind = Behind()
    before = behind.stranger.write(flag_writes("a"), idempotency=KEY)
    since = behind.stranger.write(flag_writes("b"), idempotency=("since", b"y"))
    await behind.has(since)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(behind.run)
        await trio.sleep(HISTORY_WAIT_S / 3)
        assert not behind.project.idempotency.complete
        await behind.has(before)
        behind.coming = False
        await trio.sleep(HISTORY_WAIT_S / 3)
        assert behind.project.idempotency.complete
        found = [behind.project.idempotency.lookup(key) for key in (KEY[0], "since")]
        assert [f.dot for f in found if f is not None] == [before.dot, since.dot]


async def test_history_that_does_not_come_is_not_waited_for_for_ever(autojump_clock: object) -> None:
    behind = Behind()
    began_s = trio.current_time()
    await behind.run()
    assert behind.project.idempotency.complete
    assert HISTORY_WAIT_S <= trio.current_time() - began_s < HISTORY_WAIT_S + 10


async def test_a_log_that_goes_back_for_longer_than_keys_are_kept_needs_no_more_history(
    autojump_clock: object,
) -> None:
    behind = Behind(newest_ms=1_700_000_000_000 - KEPT_MS - 1)
    await behind.has(behind.stranger.create("old"))
    began_s = trio.current_time()
    await behind.run()
    assert trio.current_time() - began_s < 1


# -- stamps: all that was loaded is below what is written, before the log has been read


async def test_the_slots_row_says_how_far_the_stamps_had_come(autojump_clock: object) -> None:
    async with node() as (place, before):
        ahead_ms = place.clock.wall_ms() + 50_000
        theirs = Stranger(hlc_ms=ahead_ms).create("theirs")
        await push(before, [theirs])
        await before.drain()
        await push(before, [Stranger(0x98, hlc_ms=ahead_ms - 1_000).create("lower")])
        await before.drain()
    place.disk.wipe()
    engine, history = held(place)
    async with running(engine):
        written = await write(engine, creates("mine"))
        assert written.hlc is not None
        assert written.hlc > theirs.hlc
        assert not history.gate.is_set()


@pytest.mark.parametrize("row", ["of an earlier version", "of a clock that has been set back"])
async def test_a_row_that_cannot_say_it_makes_the_start_read_the_log_first(
    autojump_clock: object, row: str
) -> None:
    async with node() as (place, before):
        theirs = Stranger(hlc_ms=place.clock.wall_ms() + 50_000).create("theirs")
        await push(before, [theirs])
        await before.drain()
        store = before.seams.store
        last = await store.read_member("eu-1")
        assert last is not None
        assert last.hlc >= theirs.hlc
    far = hlcs.pack(place.clock.wall_ms() + 10_000_000)
    hlc = 0 if row == "of an earlier version" else far
    await store.write_member(replace(last, revision=last.revision + 1, hlc=hlc))
    place.disk.wipe()
    engine, history = held(place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await history.asked.wait()
        await trio.sleep(600)
        assert not engine.ready
        assert (await store.read_member("eu-1")) == replace(last, revision=last.revision + 1, hlc=hlc), (
            "a row that claims to say it must not be written before it can"
        )
        history.gate.set()
        await engine.until_ready()
        written = await write(engine, creates("mine"))
        assert written.hlc is not None
        assert theirs.hlc < written.hlc < far
        assert engine.projects[SHOP].idempotency.complete
        nursery.cancel_scope.cancel()
