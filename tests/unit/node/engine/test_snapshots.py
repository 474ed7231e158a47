"""A node that the log does not reach any more takes a peer's whole state: all of it at once, or nothing of it."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio

from tests.unit.node.engine.snapshot_worlds import (
    FLAGS,
    FailingStore,
    Handle,
    Two,
    checkpoints,
    make_pages_small,
    own_checkpoint,
    state,
    two,
)
from tests.unit.node.engine.store_worlds import StoppingStore
from tests.unit.node.engine.world import (
    check_roots,
    creates,
    sets,
    shop,
    write,
)
from vexil.node import snapshots as taking
from vexil.node.seams import StoreError
from vexil.node.upkeep import DROP_STALE_AFTER_S


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of many pages, so that things can happen between them."""
    make_pages_small(monkeypatch)


def pages_of(both: Two, part: str = "objects") -> int:
    """How many pages of a part were asked for."""
    return sum(request.get("part") == part for request in both.wire.asked)


async def test_a_node_that_the_log_does_not_reach_takes_the_whole_state(autojump_clock: object) -> None:
    async with two() as both:
        assert not both.same()
        await both.pull()
        assert both.same()
        assert pages_of(both) > 5
        check_roots(both.us)
        assert len(shop(both.us).flag_keys()) == FLAGS + 1
        assert shop(both.us).flag_set("prod").flags.keys() == shop(both.eu).flag_set("prod").flags.keys()
        assert shop(both.us).flag_set("prod").version == shop(both.eu).flag_set("prod").version
        assert both.us.status()["projects"]["shop"]["snapshot"] is None


async def test_it_is_there_after_a_restart(autojump_clock: object) -> None:
    async with two() as both:
        await both.pull()
        await write(both.us, creates("later"))
        before = state(both.us)
        await both.kill_us()
        await both.start_us()
        assert state(both.us) == before
        check_roots(both.us)
        assert "later" in shop(both.us).flag_keys()
        assert await checkpoints(both) == [own_checkpoint(both)]
        assert own_checkpoint(both) > 0


async def test_what_is_written_and_heard_meanwhile_is_not_lost(autojump_clock: object) -> None:
    async with two() as both:
        written = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal written
            if method == "snapshot" and request.get("part") == "objects":
                written += 1
                await write(both.us, creates(f"mine{written:03}"))
                await write(both.us, sets("first", "description", f"edit {written}"))
                await write(both.eu, creates(f"theirs{written:03}"))
                # Nothing of the snapshot may be seen before all of it.
                assert not [key for key in shop(both.us).flag_keys() if key.startswith("missed")]
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        await both.pull()
        both.wire.meddle = None
        assert written > 5
        keys = set(shop(both.us).flag_keys())
        assert {f"mine{n:03}" for n in range(1, written + 1)} <= keys
        assert {f"missed{n:03}" for n in range(FLAGS)} <= keys
        first = shop(both.us).flag("first")
        assert first is not None
        assert first.description == f"edit {written}"
        check_roots(both.us)
        await both.pull()
        await both.us._exchange.sync(both.peer)
        assert both.same()


async def test_idempotency_keys_come_with_it(autojump_clock: object) -> None:
    async with two() as both:
        first = await write(both.eu, creates("keyed"), idempotency=("k", b"f"))
        await both.forget_log()
        await both.pull()
        again = await write(both.us, creates("keyed"), idempotency=("k", b"f"))
        assert again.replayed
        assert again.change_id == first.change_id


@pytest.mark.parametrize("spared", [0, 3])
async def test_a_disk_that_fills_up_while_pages_come_changes_nothing(
    autojump_clock: object, spared: int
) -> None:
    async with two(store=FailingStore) as both:
        before = state(both.us)
        store = both.us.seams.store
        assert isinstance(store, FailingStore)
        store.failing, store.spared = {"write_fold", "drop_fold"}, spared
        with pytest.raises(StoreError):
            await both.pull()
        assert store.failures >= taking.STORE_TRIES_MAX
        assert state(both.us) == before
        store.failing = set()
        await write(both.us, creates("after"))
        await both.pull()
        assert "after" in shop(both.us).flag_keys()
        assert len(shop(both.us).flag_keys()) == FLAGS + 2
        check_roots(both.us)


async def test_a_store_that_hiccups_while_pages_come_is_asked_again(autojump_clock: object) -> None:
    async with two(store=FailingStore) as both:
        store = both.us.seams.store
        assert isinstance(store, FailingStore)
        hiccups = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal hiccups
            store.failing = {"write_fold"}
            hiccups += 1
            both.nursery.start_soon(heal)
            return await hand_on(msgpack.packb(request))

        async def heal() -> None:
            await trio.sleep(0.3)
            store.failing = set()

        both.wire.meddle = meddle
        await both.pull()
        assert store.failures
        assert both.same()


async def test_a_store_that_does_not_take_the_switch_holds_writes_up_for_a_bounded_time(
    autojump_clock: object,
) -> None:
    async with two(store=FailingStore) as both:
        before = state(both.us)
        store = both.us.seams.store
        assert isinstance(store, FailingStore)
        took_s = []

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            if method == "snapshot" and request.get("part") == "keys":
                store.failing = {"write_member"}
                both.nursery.start_soon(author)
            return await hand_on(msgpack.packb(request))

        async def author() -> None:
            await trio.sleep(0.5)
            began_s = trio.current_time()
            await write(both.us, sets("first", "description", "meanwhile"), durability="node")
            took_s.append(trio.current_time() - began_s)

        both.wire.meddle = meddle
        with pytest.raises(StoreError):
            await both.pull()
        both.wire.meddle = None
        with trio.fail_after(60):
            while not took_s:  # noqa: ASYNC110 - the author is a task of another nursery
                await trio.sleep(0.1)
        assert took_s[0] < taking.SWITCH_LIMIT_S + 1
        assert shop(both.us).flag_keys() == ["first"]
        assert state(both.us) != before
        store.failing = set()
        await both.pull()
        first = shop(both.us).flag("first")
        assert first is not None
        assert first.description == "meanwhile"
        check_roots(both.us)
        await both.us.drain()
        await both.kill_us()
        await both.start_us()
        assert len(shop(both.us).flag_keys()) == FLAGS + 1
        check_roots(both.us)


@pytest.mark.parametrize("landed", [False, True])
async def test_a_crash_at_any_call_of_the_store_leaves_all_of_it_or_nothing(
    autojump_clock: object, landed: bool
) -> None:
    calls, outcomes = 0, set()
    while True:
        calls += 1
        async with two(store=lambda place: StoppingStore(place.store(), calls=None, landed=landed)) as both:
            store = both.us.seams.store
            assert isinstance(store, StoppingStore)
            await write(both.us, creates("mine"))
            store._limit = store.calls + calls
            old, ended = len(shop(both.us).flag_keys()), trio.Event()

            async def pull(both: Two = both, ended: trio.Event = ended) -> None:
                await both.pull()
                ended.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(pull)
                nursery.start_soon(_first, nursery, ended, store.stopped)
            await both.kill_us()
            # Nobody helps it: this is what its disk says.
            both.link(cut=True)
            await both.start_us()
            check_roots(both.us)
            flags = len(shop(both.us).flag_keys())
            assert flags in {old, FLAGS + 2}
            outcomes.add(flags)
            assert "mine" in shop(both.us).flag_keys()
            await trio.sleep(DROP_STALE_AFTER_S + 1)
            assert await checkpoints(both) == [own_checkpoint(both)]
            both.link(cut=False)
            await both.us._exchange.sync(both.peer)
            await both.us._exchange.sync(both.peer)
            assert both.same()
            if ended.is_set():
                break
    assert calls > 10
    assert outcomes == {2, FLAGS + 2}


async def _first(nursery: trio.Nursery, *events: trio.Event) -> None:
    """Cancel the nursery when one of the events has come."""
    async with trio.open_nursery() as waiting:

        async def one(event: trio.Event) -> None:
            await event.wait()
            waiting.cancel_scope.cancel()

        for event in events:
            waiting.start_soon(one, event)
    nursery.cancel_scope.cancel()


async def test_a_write_at_the_last_moment_is_in_cells_views_and_on_disk(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two() as both:
        journal = both.us_place.journal
        trim, calls = journal.trim, 0

        async def late(project: str, through: dict[int, int]) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                await write(both.us, creates("late"))
                await write(both.us, sets("first", "description", "late"))
            await trim(project, through)

        monkeypatch.setattr(journal, "trim", late)
        await both.pull()
        assert calls > 1
        for _ in range(2):
            assert "late" in shop(both.us).flag_set("prod").flags
            first = shop(both.us).flag("first")
            assert first is not None
            assert first.description == "late"
            check_roots(both.us)
            await both.kill_us()
            await both.start_us()


async def test_a_state_that_is_older_than_what_was_collected_here_is_not_merged(
    autojump_clock: object,
) -> None:
    async with two() as both:
        both.link(cut=True)
        await write(both.us, creates("mine"))
        await trio.sleep(5)
        both.link(cut=False)
        replica = shop(both.us).replica
        replica.advance_floor(dict(replica.vv))
        before = state(both.us)
        with pytest.raises(taking.BelowFloor) as refused:
            await both.pull()
        assert not refused.value.ours
        assert state(both.us) == before
        assert await checkpoints(both) == [own_checkpoint(both)]
