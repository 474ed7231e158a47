"""After a snapshot the log before it follows in the background, and no row is believed for the sake of its sender."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio

from tests.unit.node.engine.snapshot_worlds import FLAGS, FailingStore, Handle, Two, fill, state, two
from tests.unit.node.engine.test_peer_service import refusal
from tests.unit.node.engine.world import EU_2, SHOP, Kept, check_roots, creates, node, shop, write
from vexil.chaos.world.simulated_clock import ClockFaults
from vexil.crdt.change import decode
from vexil.node.gossip import past, past_pages
from vexil.node.seams import PeerUnreachable, StoreError

PATIENCE_S = 120


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pages of several rows."""
    monkeypatch.setattr(past, "PAGE_BYTES", 3_000)
    monkeypatch.setattr(past_pages, "SCANNED_MAX", 10)


async def history(both: Two) -> list[tuple[int, int]]:
    """The dots of ``us-1``'s log of the project, newest first."""
    rows = await both.us.seams.store.read_history(SHOP, before=None, limit=1_000)
    return [decode(row.raw).dot for row in rows]


async def start_of(both: Two) -> int:
    """Up to which seq ``us-1`` lacks the rows of what ``eu-1`` has written."""
    return dict(await both.us.seams.store.log_start(SHOP)).get(both.eu.incarnation, FLAGS + 1)


async def missed(both: Two) -> None:
    """``eu-1`` writes what ``us-1`` does not hear; its log is whole."""
    both.link(cut=True)
    await fill(both.eu, "missed")
    await both.eu.drain()
    both.link(cut=False)


async def until_complete(both: Two) -> None:
    """Wait until no row is missing."""
    with trio.fail_after(PATIENCE_S):
        while await start_of(both):  # noqa: ASYNC110 - two nodes, looked at from outside
            await trio.sleep(0.5)


async def test_the_whole_log_follows_in_its_order(autojump_clock: object) -> None:
    async with two(behind=False, embedded=True) as both:
        await missed(both)
        await both.us.snapshots.take(both.peer, shop(both.us))
        assert both.same()
        assert await history(both) == []
        await write(both.us, creates("later"))
        await until_complete(both)
        dots = await history(both)
        assert dots[1:] == [(both.eu.incarnation, seq) for seq in range(FLAGS + 1, 0, -1)]
        assert dots[0][0] == both.us.incarnation


@pytest.mark.parametrize("newer", [False, True], ids=["behind them", "between others"])
async def test_rows_that_a_snapshot_stands_for_come_into_a_log_that_has_older_ones(
    autojump_clock: object, *, newer: bool
) -> None:
    async with two(behind=False, embedded=False) as both:
        await write(both.eu, creates("heard"))
        eu = both.eu.incarnation
        with trio.fail_after(PATIENCE_S):
            while not await of_eu(both):  # noqa: ASYNC110 - two nodes, looked at from outside
                await trio.sleep(0.5)
        await missed(both)
        await both.us.snapshots.take(both.peer, shop(both.us))
        if newer:
            await write(both.eu, creates("newer"))
        whole = [*range(shop(both.eu).replica.vv[eu], 0, -1)]
        with trio.fail_after(PATIENCE_S):
            while await of_eu(both) != whole:  # noqa: ASYNC110 - two nodes, looked at from outside
                await trio.sleep(0.5)


async def of_eu(both: Two) -> list[int]:
    """Of ``us-1``'s log what ``eu-1`` has written, newest first."""
    return [seq for incarnation, seq in await history(both) if incarnation == both.eu.incarnation]


async def test_it_goes_on_after_a_restart_and_asks_only_for_what_is_missing(autojump_clock: object) -> None:
    async with two(behind=False, embedded=True) as both:
        await missed(both)
        pages = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal pages
            pages += method == "past"
            if method == "past" and pages > 2:
                raise PeerUnreachable("not now")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        await both.us.snapshots.take(both.peer, shop(both.us))
        with trio.fail_after(PATIENCE_S):
            while pages < 3:  # noqa: ASYNC110 - counted on the wire
                await trio.sleep(0.5)
        reached = await start_of(both)
        assert 0 < reached < FLAGS
        await both.us.drain()
        await both.kill_us()
        sent: list[int] = []

        async def listen(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            raw = await hand_on(msgpack.packb(request))
            if method == "past":
                sent.extend(decode(change).seq for change in msgpack.unpackb(raw)["changes"])
            return raw

        both.wire.meddle = listen
        await both.start_us()
        await until_complete(both)
        assert max(sent) <= reached
        assert state(both.us) == state(both.eu)


async def test_a_forged_row_is_refused_and_told(autojump_clock: object) -> None:
    async with two(behind=False, embedded=True) as both:
        await missed(both)
        forged: list[object] = []

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            answer = msgpack.unpackb(await hand_on(msgpack.packb(request)))
            if method == "past":
                for place, raw in enumerate(answer["changes"]):
                    change = msgpack.unpackb(raw)
                    if change[2] == FLAGS // 2 and not forged:
                        change[7] = "it was somebody else"
                        forged.append(change)
                        answer["changes"][place] = msgpack.packb(change)
                answer["changes"].append(b"\xc1 junk")
            return bytes(msgpack.packb(answer))

        both.wire.meddle = meddle
        await both.us.snapshots.take(both.peer, shop(both.us))
        await trio.sleep(30)
        assert forged
        assert await start_of(both) == FLAGS // 2
        kept = both.us.seams.log
        assert isinstance(kept, Kept)
        assert "rows of the past fit no chain" in [event for event, _ in kept.errors]
        check_roots(both.us)


async def test_what_is_older_than_the_retention_is_not_fetched(autojump_clock: object) -> None:
    async with two(behind=False, embedded=True) as both:
        both.link(cut=True)
        await fill(both.eu, "old", 10)
        both.eu_place.clock.faults = ClockFaults(offset_ms=100 * past.DAY_MS)
        both.us_place.clock.faults = ClockFaults(offset_ms=100 * past.DAY_MS)
        await fill(both.eu, "young", 10)
        await both.eu.drain()
        both.link(cut=False)
        await both.us.snapshots.take(both.peer, shop(both.us))
        assert both.same()
        await trio.sleep(60)
        assert await start_of(both) == 11


async def test_a_full_disk_only_delays_it(autojump_clock: object) -> None:
    async with two(behind=False, store=FailingStore) as both:
        await missed(both)
        store = both.us.seams.store
        assert isinstance(store, FailingStore)
        store.failing, store.spared = {"write_past"}, 1
        await both.us.snapshots.take(both.peer, shop(both.us))
        await trio.sleep(20)
        assert store.failures
        store.failing = set()
        await until_complete(both)


async def test_rows_that_went_for_a_switch_that_failed_come_again(autojump_clock: object) -> None:
    async with two(behind=False, store=FailingStore) as both:
        await until_complete(both)
        before = await history(both)
        await missed(both)
        store = both.us.seams.store
        assert isinstance(store, FailingStore)

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            if method == "snapshot" and request.get("part") == "keys":
                store.failing = {"write_member"}
            if method == "past":
                raise PeerUnreachable("not now")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        with pytest.raises(StoreError):
            await both.us.snapshots.take(both.peer, shop(both.us))
        assert await history(both) == []
        both.wire.meddle = None
        store.failing = set()
        with trio.fail_after(PATIENCE_S):
            while await history(both) != before:  # noqa: ASYNC110 - two nodes, looked at from outside
                await trio.sleep(0.5)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"project": SHOP},
        {"project": SHOP, "cursor": "nonsense", "first": []},
        {"project": SHOP, "cursor": "", "first": [1]},
        {"project": SHOP, "cursor": "x" * 1_000, "first": []},
        {"project": 1, "cursor": "", "first": []},
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    autojump_clock: object, request_: dict[str, object]
) -> None:
    async with node() as (_, engine):
        await write(engine, creates("f"))
        assert await refusal(engine, EU_2, "past", request_) == "request.malformed"
