"""What a node does with changes that it must not take in: put aside once, stop that incarnation, harm nobody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Place,
    Stranger,
    check_roots,
    creates,
    flag_writes,
    node,
    push,
    register,
    shop,
    state_of,
    write,
)
from vexil.crdt import change as changes
from vexil.crdt.change import Change, Operation
from vexil.node.engine import Engine
from vexil.node.gossip.messages import Message
from vexil.node.seams import PeerIdentity

US_1 = PeerIdentity("us-1", "us")


def undecodable(incarnation: int, seq: int, *, note: str = "a future") -> bytes:
    """A change of a version that has thrown the format away, but for what all versions keep."""
    return bytes(msgpack.packb([99, incarnation, seq, note]))


def forged(like: Change, **other: Any) -> Change:
    """``like`` with other members, soundly encoded."""
    members: dict[str, Any] = {
        "dot": like.dot,
        "hlc": like.hlc,
        "deps": dict(like.deps),
        "previous": like.previous,
        "author": like.author,
        "message": like.message,
        "idempotency": like.idempotency,
        "operations": like.operations,
    }
    return changes.encode(**{**members, **other})


async def kept_aside(place: Place) -> list[tuple[str, str, bytes]]:
    await trio.sleep(1)
    return [(r.reason, r.sender, r.raw) for r in await place.store().read_aside()]


async def test_an_undecodable_change_stops_its_incarnation_and_no_other(autojump_clock: object) -> None:
    async with node() as (place, engine):
        good, bad, third = Stranger(0xA1), Stranger(0xA2), Stranger(0xA3)
        page = [
            good.create("a").raw,
            bad.create("b").raw,
            undecodable(0xA2, 2),
            third.create("c").raw,
            good.create("d").raw,
        ]
        answer = await push(engine, page)
        assert answer.vv_by_project("have")[SHOP] == {0xA1: 2, 0xA2: 1, 0xA3: 1}
        assert shop(engine).flag_keys() == ["a", "b", "c", "d"]
        # What follows of it is not taken, and not kept waiting either; the others go on.
        bad.create("e")
        await push(engine, [bad.create("f"), third.create("g")])
        assert shop(engine).flag_keys() == ["a", "b", "c", "d", "g"]
        assert not shop(engine).waiting
        assert engine.alarms.aside_count == 1
        ((reason, sender, raw),) = await kept_aside(place)
        assert (reason.partition(":")[0], sender, raw) == ("undecodable", "eu-2", undecodable(0xA2, 2))
        check_roots(engine)


async def test_what_was_put_aside_is_not_put_aside_again(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await register(engine, US_1)
        for caller in (EU_2, US_1, EU_2):
            await push(engine, [undecodable(0xA2, 1)], caller=caller)
        assert engine.alarms.aside_count == 1
        assert place.kept.aside == ["undecodable"]
        assert [sender for _, sender, _ in await kept_aside(place)] == ["eu-2"]


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x93\x01\x02", b"junk", b"\x90", b"\x93\x01\xa1x\x01"])
async def test_bytes_that_name_no_dot_are_put_aside_and_stop_nobody(
    autojump_clock: object, raw: bytes
) -> None:
    async with node() as (place, engine):
        await push(engine, [raw, Stranger(0xA1).create("a")])
        assert shop(engine).flag_keys() == ["a"]
        assert not shop(engine).stopped
        assert [r for _, _, r in await kept_aside(place)] == [raw]


def page_of_one(log: Sequence[tuple[int, int, bytes]]) -> Any:
    """A peer whose pulls answer one change a page, in the order of ``log``."""

    def answer(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
        assert method == "pull"
        vv, skip = message.vv("vv"), message.incarnations("skip")
        there = [row for row in log if row[1] > vv.get(row[0], 0) and row[0] not in skip]
        return {
            "changes": [raw for _, _, raw in there[:1]],
            "reached": [x for i, seq, _ in there[:1] for x in (i, seq)],
            "more": len(there) > 1,
        }

    return answer


async def test_one_bad_change_does_not_starve_a_pull_of_the_rest(autojump_clock: object) -> None:
    async with node() as (place, engine):
        good, bad = Stranger(0xA1), Stranger(0xA2)
        bad.create("b")
        log = [(0xA2, 1, undecodable(0xA2, 1)), (0xA2, 2, bad.create("b2").raw)]
        log += [(c.incarnation, c.seq, c.raw) for c in (good.create("a"), good.create("c"))]
        place.board.scripts["p://eu-2"] = page_of_one(log)
        await engine._exchange.pull(engine.peers["eu-2"], shop(engine))
        assert shop(engine).flag_keys() == ["a", "c"]
        assert shop(engine).replica.vv == {0xA1: 2}


def fork(theirs: Stranger) -> Change:
    return forged(theirs.log[-1], message="another history")


def wrong_past(theirs: Stranger) -> Change:
    return forged(theirs.create("next"), previous=b"\x07" * 16)


def overclaim(theirs: Stranger) -> Change:
    """Says that it replaces a lane of somebody whom its author has never heard of."""
    change = theirs.create("next")
    first = change.operations[0]
    return forged(change, operations=(Operation(*first[:4], ((0xA1, 1),)), *change.operations[1:]))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(fork, "fork"), (wrong_past, "fork"), (overclaim, "overclaim")],
    ids=["fork", "wrong-past", "overclaim"],
)
async def test_a_change_that_contradicts_its_incarnation_is_put_aside_and_the_others_go_on(
    autojump_clock: object, bad: Any, reason: str
) -> None:
    async with node() as (place, engine):
        good, theirs = Stranger(0xA1), Stranger(0xA2)
        await push(engine, [good.create("a"), theirs.create("b")])
        before = state_of(engine)
        change = bad(theirs)
        await push(engine, [change])
        assert state_of(engine) == before
        assert engine.alarms.forks == 1
        assert await kept_aside(place) == [(reason, "eu-2", change.raw)]
        # In one page with it, and after it: everybody else.
        await push(engine, [good.create("c"), change, theirs.create("d"), good.create("e")])
        assert shop(engine).flag_keys() == ["a", "b", "c", "e"]
        assert shop(engine).stopped == {0xA2}
        assert engine.alarms.aside_count == 1
        check_roots(engine)


async def test_an_older_dot_comes_again_and_is_nothing(autojump_clock: object) -> None:
    async with node() as (_, engine):
        theirs = Stranger(0xA2)
        log = [theirs.create("a"), theirs.create("b")]
        await push(engine, log)
        before = state_of(engine)
        await push(engine, [*log, log[0]])
        assert state_of(engine) == before
        assert engine.alarms.forks == engine.alarms.aside_count == 0


# -- copies of this process


async def own_copy(engine: Engine) -> Stranger:
    """A pen that writes under the engine's own incarnation, as a clone of the machine would."""
    return await Stranger(engine.incarnation).follow(engine)


async def check_new_life(place: Place, engine: Engine, before: int) -> None:
    """The engine has a new incarnation, says so to the cluster, and writes under it from now on."""
    assert engine.incarnation != before
    assert engine.alarms.forks == 1
    await trio.sleep(2)
    assert engine.directory.members["eu-1"].current == engine.incarnation
    assert engine.directory.place_of(engine.incarnation) == ("eu-1", "eu")
    assert engine.directory.place_of(before) == ("eu-1", "eu")
    row = await place.store().read_member("eu-1")
    assert row is not None
    assert row.incarnation == engine.incarnation
    written = await write(engine, creates("after"))
    assert written.dot == (engine.incarnation, 1)


async def test_the_next_change_of_our_own_incarnation_from_elsewhere_makes_us_somebody_else(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        sent: list[bytes] = []

        def taking(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
            if method == "push":
                sent.extend(message.changes_by_project("changes").get(SHOP, ()))
            return {"have": {}, "gaps": []}

        await write(engine, creates("mine"))
        before = engine.incarnation
        copy = await own_copy(engine)
        await push(engine, [copy.create("theirs")])
        # It may have been acknowledged where it was made: it is kept.
        assert shop(engine).flag_keys() == ["mine", "theirs"]
        place.board.scripts["p://eu-2"] = taking
        await check_new_life(place, engine, before)
        await trio.sleep(5)
        assert [changes.decode(raw).dot for raw in sent][-1] == (engine.incarnation, 1)
        # The copy goes on under the old name; that is nothing new.
        await push(engine, [copy.create("more")])
        assert "more" in shop(engine).flag_keys()
        assert engine.alarms.forks == 1


async def test_another_history_of_our_own_incarnation_is_put_aside_and_makes_us_somebody_else(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        copy = await own_copy(engine)
        await write(engine, creates("mine"))
        before = engine.incarnation
        theirs = copy.create("theirs")
        await push(engine, [theirs])
        assert shop(engine).flag_keys() == ["mine"]
        await check_new_life(place, engine, before)
        assert await kept_aside(place) == [("fork", "eu-2", theirs.raw)]


async def test_junk_under_our_own_incarnation_makes_us_somebody_else_too(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("mine"))
        before = engine.incarnation
        await push(engine, [undecodable(before, 2)])
        await check_new_life(place, engine, before)


async def test_a_digest_that_knows_more_of_us_than_we_do_makes_us_somebody_else(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        await write(engine, creates("mine"))
        before = engine.incarnation
        copy = await own_copy(engine)
        copy.create("theirs")
        heads = [before, 2, copy.replica.head(before)]

        def telling(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
            if method == "digest":
                projects = {SHOP: [heads, copy.replica.root_hash()]}
                return {"wall_ms": place.clock.wall_ms(), "ages": {}, "projects": projects, "pulling": []}
            changes_there = [copy.log[-1].raw] if method == "pull" else []
            return {"changes": changes_there, "reached": [], "more": False, "have": {}}

        place.board.scripts["p://eu-2"] = telling
        await engine._exchange.sync(engine.peers["eu-2"])
        assert shop(engine).flag_keys() == ["mine", "theirs"]
        await check_new_life(place, engine, before)


async def test_a_copy_met_in_a_batch_with_local_writes_does_not_share_a_dot_with_them(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        await write(engine, creates("mine"))
        before = engine.incarnation
        copy = await own_copy(engine)
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, engine, creates("first"))
            await trio.sleep(
                0.01
            )  # `first` is on its way to the disk under the old name; now all of this queues:
            nursery.start_soon(push, engine, [copy.create("theirs")])
            nursery.start_soon(write, engine, creates("second"))
            await trio.sleep(0.01)
            place.journal.let_go()
        assert engine.incarnation != before
        assert {"first", "second"} <= set(shop(engine).flag_keys())
        check_roots(engine)
        other = Stranger()
        await other.follow(engine)
        assert other.replica.root == shop(engine).replica.root


# -- causes that are missing


async def test_a_change_waits_for_what_it_depends_on_and_is_applied_when_that_comes(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        first, second = Stranger(0xA1), Stranger(0xA2)
        cause = first.create("a")
        second.replica.apply(cause)
        effect, more = second.create("b"), second.create("c")
        answer = await push(engine, [more, effect])
        assert answer.names("gaps") == [SHOP]
        assert shop(engine).replica.vv == {}
        await push(engine, [cause])
        await trio.sleep(0.1)
        assert shop(engine).replica.vv == {0xA1: 1, 0xA2: 2}
        assert not shop(engine).waiting
        check_roots(engine)


async def test_what_waits_is_no_gap_of_who_pushes_something_else(autojump_clock: object) -> None:
    async with node() as (place, engine):
        late, good = Stranger(0xA1), Stranger(0xA2)
        late.create("first")
        assert (await push(engine, [late.create("second")])).names("gaps") == [SHOP]
        await trio.sleep(2)
        place.board.calls.clear()
        for key in "abc":
            assert (await push(engine, [good.create(key)])).names("gaps") == []
        await trio.sleep(2)
        assert place.board.calls == []


async def test_what_waits_of_an_incarnation_goes_when_it_is_stopped(autojump_clock: object) -> None:
    async with node() as (_, engine):
        theirs = Stranger(0xA1)
        theirs.create("first")
        await push(engine, [theirs.create("second")])
        assert len(shop(engine).waiting) == 1
        await push(engine, [undecodable(0xA1, 1)])
        assert not shop(engine).waiting
        # And in the very page that brings its other history.
        one, other = Stranger(0xA2), Stranger(0xA2)
        await push(engine, [one.create("one")])
        await push(engine, [other.create("other"), *(other.create(f"more{n}") for n in range(3))])
        assert shop(engine).stopped == {0xA1, 0xA2}
        assert not shop(engine).waiting


async def test_what_waits_is_bounded(autojump_clock: object) -> None:
    async with node() as (_, engine):
        theirs = Stranger(0xA1)
        theirs.create("a")
        waiting = [theirs.write([flag_writes("a")[1]]) for _ in range(4_200)]
        for start in range(0, len(waiting), 1_000):
            await push(engine, waiting[start : start + 1_000])
        assert len(shop(engine).waiting) == 4_096
        await push(engine, [theirs.log[0]])
        await trio.sleep(0.1)
        assert not shop(engine).waiting
        assert shop(engine).replica.vv == {0xA1: 4_097}
