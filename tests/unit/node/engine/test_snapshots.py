"""A node that the log does not reach any more takes a peer's whole state: all of it at once, or nothing of it."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio

from tests.unit.node.engine.snapshot_worlds import FLAGS, FailingStore, Handle, Two, state, two
from tests.unit.node.engine.store_worlds import StoppingStore
from tests.unit.node.engine.world import (
    EU_2,
    FLAG,
    SHOP,
    check_roots,
    creates,
    node,
    register,
    sets,
    shop,
    write,
)
from vexil.crdt.snapshot_page import decode_page
from vexil.node import snapshots as taking
from vexil.node.engine import Engine
from vexil.node.gossip import messages, snapshot_source
from vexil.node.gossip import snapshots as serving
from vexil.node.gossip.messages import Message
from vexil.node.seams import PeerError, PeerIdentity, PeerNonsense, PeerRefused, PeerUnreachable, StoreError
from vexil.node.upkeep import DROP_STALE_AFTER_S

SMALL_PAGE = 2_000


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of many pages, so that things can happen between them."""
    monkeypatch.setattr(serving, "PAGE_BYTES", SMALL_PAGE)
    monkeypatch.setattr(messages, "PAGE_BYTES_MIN", 100)


async def checkpoints(both: Two) -> list[int]:
    """Of which numbers ``us-1`` has folds of the project."""
    return list((await both.us.seams.store.fold_checkpoints())["shop"])


def own_checkpoint(both: Two) -> int:
    """The one that its row names."""
    assert both.us.writer is not None
    return both.us.writer.checkpoint("shop")


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


Alter = Any


def truncated(answer: dict[str, Any]) -> None:
    answer["page"] = answer["page"][:-1]


def altered(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    fields = page[0][1][0][2]
    cell = msgpack.unpackb(fields[1])
    cell[2] += 1
    fields[1] = msgpack.packb(cell)
    answer["page"] = msgpack.packb(page)


def ahead_of_its_vector(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    fields = page[0][1][0][2]
    cell = msgpack.unpackb(fields[1])
    cell[1] = 1 << 40
    fields[1] = msgpack.packb(cell)
    answer["page"] = msgpack.packb(page)


def without_a_cell(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    del page[0][1][0][2][:2]
    answer["page"] = msgpack.packb(page)


def without_an_object(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    del page[0]
    answer["page"] = msgpack.packb(page)


def an_object_twice(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    page.append(page[0])
    answer["page"] = msgpack.packb(page)


def empty(answer: dict[str, Any]) -> None:
    answer["page"] = b"\x90"


def standing_still(answer: dict[str, Any]) -> None:
    answer["more"], answer["after"], answer["at"] = True, b"", 0


def cut_short(answer: dict[str, Any]) -> None:
    answer["more"] = False


def without_a_cursor(answer: dict[str, Any]) -> None:
    answer["more"] = True
    answer.pop("after", None)


BROKEN = [
    truncated,
    altered,
    ahead_of_its_vector,
    without_a_cell,
    without_an_object,
    an_object_twice,
    empty,
    standing_still,
    cut_short,
    without_a_cursor,
]


@pytest.mark.parametrize("alter", BROKEN)
async def test_a_broken_page_changes_nothing(autojump_clock: object, alter: Alter) -> None:
    async with two() as both:
        before = state(both.us)
        pages = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal pages
            raw = await hand_on(msgpack.packb(request))
            if method == "snapshot" and request.get("part") == "objects":
                pages += 1
                if pages == 3:
                    answer = msgpack.unpackb(raw)
                    alter(answer)
                    return bytes(msgpack.packb(answer))
            return raw

        both.wire.meddle = meddle
        with pytest.raises(PeerNonsense):
            await both.pull()
        assert pages >= 3
        await nothing_has_happened(both, before)
        both.wire.meddle = None
        await both.pull()
        assert both.same()


async def nothing_has_happened(both: Two, before: object) -> None:
    """The old state, nothing staged, and the node takes writes."""
    assert state(both.us) == before
    check_roots(both.us)
    assert shop(both.us).flag_keys() == ["first"]
    assert not shop(both.us).merging
    assert await checkpoints(both) == [own_checkpoint(both)]
    await write(both.us, sets("first", "description", "still here"))


@pytest.mark.parametrize("member", ["header_bytes", "objects", "keys", "cut"])
@pytest.mark.parametrize("wrong", [-1, 0, 1, 10**9, 1 << 63, "x", None])
async def test_a_manifest_that_is_not_true_changes_nothing(
    autojump_clock: object, member: str, wrong: object
) -> None:
    async with two() as both:
        before = state(both.us)
        told = []

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            answer = msgpack.unpackb(await hand_on(msgpack.packb(request)))
            if method == "snapshot" and "cut" not in request:
                told.append((answer[member], wrong))
                answer[member] = wrong
            return bytes(msgpack.packb(answer))

        both.wire.meddle = meddle
        try:
            await both.pull()
        except PeerError:
            await nothing_has_happened(both, before)
        else:
            assert [wrong] == [true for true, _ in told]


async def test_a_page_of_another_place_changes_nothing(autojump_clock: object) -> None:
    async with two() as both:
        before = state(both.us)
        kept: list[bytes] = []

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            raw = await hand_on(msgpack.packb(request))
            if method == "snapshot" and request.get("part") == "objects":
                kept.append(raw)
                if len(kept) == 4:
                    answer, earlier = msgpack.unpackb(raw), msgpack.unpackb(kept[1])
                    return bytes(msgpack.packb({**answer, "page": earlier["page"]}))
            return raw

        both.wire.meddle = meddle
        with pytest.raises(PeerNonsense):
            await both.pull()
        await nothing_has_happened(both, before)


async def test_a_peer_that_never_comes_to_an_end_is_left(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two() as both:
        before = state(both.us)
        monkeypatch.setattr(snapshot_source, "BYTES_MAX", 10_000)
        with pytest.raises(PeerNonsense, match="more than"):
            await both.pull()
        await nothing_has_happened(both, before)


async def test_lost_pages_are_asked_for_again_from_where_it_was(autojump_clock: object) -> None:
    async with two() as both:
        lost = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal lost
            raw = await hand_on(msgpack.packb(request))
            if method == "snapshot" and "cut" in request and len(both.wire.asked) % 3:
                lost += 1
                raise PeerUnreachable("the answer is lost")
            return raw

        both.wire.meddle = meddle
        await both.pull()
        assert lost
        assert both.same()
        assert sum("cut" not in request for request in both.wire.asked) == 1


async def test_a_peer_that_has_begun_anew_is_asked_for_a_new_cut(autojump_clock: object) -> None:
    async with two() as both:
        pages = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal pages
            if method == "snapshot" and request.get("part") == "objects":
                pages += 1
                if pages == 4:
                    raise PeerRefused("snapshot.expired", "who are you")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        await both.pull()
        assert both.same()
        assert sum("cut" not in request for request in both.wire.asked) == 2
        assert await checkpoints(both) == [own_checkpoint(both)]


async def test_a_peer_that_never_keeps_a_cut_is_not_asked_for_ever(autojump_clock: object) -> None:
    async with two() as both:
        before = state(both.us)

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            if method == "snapshot" and "cut" in request:
                raise PeerRefused("snapshot.expired", "who are you")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        with pytest.raises(PeerRefused):
            await both.pull()
        assert sum("cut" not in request for request in both.wire.asked) == taking.BEGINNINGS_MAX
        await nothing_has_happened(both, before)


async def test_a_cut_is_dropped_when_nobody_reads_it(autojump_clock: object) -> None:
    async with two() as both:

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            if method == "snapshot" and request.get("part") == "objects":
                raise PeerRefused("project.refused", "no")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        with pytest.raises(PeerRefused):
            await both.pull()
        assert both.eu.peer_service.snapshots.open_cuts > 0
        await trio.sleep(2 * serving.CUT_KEPT_S)
        assert both.eu.peer_service.snapshots.open_cuts == 0
        with shop(both.eu).replica.cut() as cut:
            assert not cut.changed


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


async def begin(engine: Engine, caller: PeerIdentity = EU_2, project: str = SHOP) -> Message:
    """A new cut."""
    return await ask(engine, caller, project=project)


async def ask(engine: Engine, caller: PeerIdentity = EU_2, **members: object) -> Message:
    """One request for a snapshot. Raises PeerRefused."""
    raw = await engine.peer_service.serve(caller, "snapshot", messages.encode({"as": "", **members}))
    return Message.decode(raw)


async def test_as_many_cuts_are_kept_as_are_allowed_and_one_a_reader(autojump_clock: object) -> None:
    async with node() as (_, engine):
        readers = [PeerIdentity(f"ap-{n}", "ap") for n in range(serving.CUTS_SERVED_MAX + 1)]
        for reader in readers:
            await register(engine, reader)
        for reader in readers[:-1]:
            await begin(engine, reader)
            await begin(engine, reader)
        with pytest.raises(PeerRefused) as refused:
            await begin(engine, readers[-1])
        assert refused.value.code == "node.busy"
        await trio.sleep(2 * serving.CUT_KEPT_S)
        await begin(engine, readers[-1])
        assert engine.peer_service.snapshots.open_cuts == 1


async def test_a_cut_is_its_readers_alone(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await register(engine, PeerIdentity("ap-1", "ap"))
        cut = (await begin(engine)).integer("cut")
        page: dict[str, Any] = {"project": SHOP, "cut": cut, "part": "header", "after": b"", "at": 0}
        assert (await ask(engine, **page)).blob("page", limit_bytes=1 << 20)
        for other in (
            ask(engine, PeerIdentity("ap-1", "ap"), **page),
            ask(engine, **{**page, "project": "_system"}),
            ask(engine, **{**page, "cut": cut + 1}),
        ):
            with pytest.raises(PeerRefused) as refused:
                await other
            assert refused.value.code == "snapshot.expired"


async def test_a_state_that_the_store_does_not_hold_is_not_given_away(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.region.available = False
        await write(engine, creates("only here"), durability="node")
        with pytest.raises(PeerRefused) as refused:
            await begin(engine)
        assert refused.value.code == "node.busy"
        assert engine.peer_service.snapshots.open_cuts == 0
        place.region.available = True
        await trio.sleep(10)
        assert (await begin(engine)).integer("objects") == 1


async def test_a_cut_shows_one_instant_however_long_it_is_read(autojump_clock: object) -> None:
    async with node() as (_, engine):
        for number in range(30):
            await write(engine, creates(f"f{number:02}", description="x" * 300))
        told = await begin(engine)
        cut = told.integer("cut")
        names, cursor, more = [], (b"", 0), True
        while more:
            answer = await ask(
                engine, project=SHOP, cut=cut, part="objects", after=cursor[0], at=cursor[1], page_bytes=500
            )
            names += [row.object for row in decode_page(answer.blob("page", limit_bytes=1 << 20))]
            more = answer.flag("more")
            if more:
                cursor = (answer.blob("after", limit_bytes=1_000), answer.integer("at"))
            await write(engine, creates(f"later{len(names):04}"))
        assert sorted(set(names)) == [f"flag/f{number:02}" for number in range(30)]
        assert len(names) == 30 * len(FLAG) + 30


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
