"""Registrations: who is let in, whose joining has ended, and what a node does with what it is told of itself."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    Embedded,
    Place,
    creates,
    hear,
    make_shop,
    node,
    running,
    shop,
    state_of,
    write,
)
from vexil.chaos.world.simulated_archive import SimulatedArchive
from vexil.chaos.world.simulated_disk import SimulatedDisk
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.pen import CellWrite
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.engine_types import MustReturn
from vexil.node.gossip import messages
from vexil.node.gossip.messages import Message
from vexil.node.gossip.service import MEMBER_ASTRAY
from vexil.node.membership import eviction
from vexil.node.seams import PeerError, PeerIdentity, PeerRefused
from vexil.node.snapshots import BelowFloor, OtherBranch

US_1 = PeerIdentity("us-1", "us")
FIRST, SECOND = "00000000000000aa", "00000000000000bb"
DIGEST: Mapping[str, object] = {"wall_ms": 1, "ages": {}, "projects": {}}


async def ask(engine: Engine, caller: PeerIdentity, method: str, **members: object) -> str:
    """Empty for an answer, else the code of the refusal."""
    try:
        await engine.peer_service.serve(caller, method, messages.encode(members))
    except PeerRefused as refused:
        return refused.code
    return ""


async def join(engine: Engine, caller: PeerIdentity, number: str) -> str:
    urls = {"peer_url": f"p://{caller.node}", "http_url": f"h://{caller.node}"}
    return await ask(engine, caller, "join", **{**urls, "as": number})


async def digest(engine: Engine, caller: PeerIdentity, number: str) -> str:
    return await ask(engine, caller, "digest", **{**DIGEST, "as": number})


async def evict(engine: Engine, name: str) -> None:
    await engine.write(
        "_system", lambda _: eviction(engine.directory, name, own=engine.name, by="test"), author="test"
    )


async def test_a_registration_that_replaces_another_evicts_it_in_the_same_change(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        assert await join(engine, US_1, FIRST) == ""
        assert await digest(engine, US_1, FIRST) == ""
        engine.peers["us-1"].unreachable = True
        changes = sum(engine.system.replica.vv.values())
        assert await join(engine, US_1, SECOND) == ""
        assert sum(engine.system.replica.vv.values()) == changes + 1
        member = engine.directory.members["us-1"]
        assert (member.registration, member.registered) == (SECOND, True)
        assert set(member.evicted) == {FIRST}
        assert await digest(engine, US_1, SECOND) == ""
        assert await digest(engine, US_1, FIRST) == "member.replaced"


async def test_a_join_that_comes_again_after_its_end_revives_nobody(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await join(engine, US_1, FIRST)
        before = state_of(engine)
        assert await join(engine, US_1, FIRST) == ""  # a repetition writes nothing
        assert state_of(engine) == before
        await evict(engine, "us-1")
        for _ in range(2):
            assert await join(engine, US_1, FIRST) == "member.evicted"
            assert await digest(engine, US_1, FIRST) == "member.evicted"
        assert await join(engine, US_1, SECOND) == ""
        assert await join(engine, US_1, FIRST) == "member.evicted"
        assert engine.directory.members["us-1"].holds(SECOND)


async def test_nobody_joins_under_the_name_of_a_member_that_may_live(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await join(engine, US_1, FIRST)
        assert engine.peers["us-1"].heard_s is None  # not heard yet: who knows
        before = state_of(engine)
        assert await join(engine, US_1, SECOND) == "member.exists"
        assert state_of(engine) == before


async def test_a_sponsor_looks_whether_the_member_lives_before_it_lets_another_in(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        await join(engine, US_1, FIRST)
        assert await join(engine, US_1, SECOND) == "member.exists"
        with trio.fail_after(30):
            while not engine.peers["us-1"].unreachable:  # noqa: ASYNC110 - it looks at an engine from outside
                await trio.sleep(0.1)
        assert ("eu-1", "p://us-1", "pull") in place.board.calls
        assert await join(engine, US_1, SECOND) == ""


async def test_a_registration_that_is_newer_than_what_is_known_is_not_told_that_it_has_ended(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        await join(engine, US_1, FIRST)
        assert await digest(engine, US_1, SECOND) == "member.unknown"
        assert await digest(engine, US_1, "") == "member.unknown"


@pytest.mark.parametrize(
    "number", ["", "aa", "0" * 15 + "G", "0" * 17, "00000000000000AA", "é" * 16, "\n" * 16]
)
async def test_what_is_no_registration_does_not_join(autojump_clock: object, number: str) -> None:
    async with node() as (_, engine):
        assert await join(engine, US_1, number) == "member.invalid"
        assert "us-1" not in engine.directory.members


@pytest.mark.parametrize("number", [7, None, ["x"], b"x", "x" * 201, {}])
async def test_a_request_with_a_registration_of_another_type_is_malformed(
    autojump_clock: object, number: object
) -> None:
    async with node() as (_, engine):
        for method in ("join", "digest", "pull", "push"):
            assert await ask(engine, EU_2, method, **{"as": number}) == "request.malformed"


async def test_of_two_that_won_the_slot_at_once_one_stays_and_the_other_is_told(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        other = Place("ap-1", board=place.board, seeds=("p://eu-1",))
        async with running(other.engine()) as sponsor:
            engine.links.set("eu-1", "ap-1", cut=True)
            assert await join(engine, US_1, FIRST) == ""
            assert await join(sponsor, US_1, SECOND) == ""
            engine.links.set("eu-1", "ap-1", cut=False)
            for here, there in ((engine, sponsor), (sponsor, engine)):
                raws = [
                    row.raw
                    for row in await there.own_log.read(
                        "_system", after={}, through=there.system.replica.vv, limit_bytes=1 << 20
                    )
                ]
                body = messages.encode({"changes": {"_system": raws}, "as": there.registration})
                await here.peer_service.serve(there.identity, "push", body)
            for who in (engine, sponsor):
                member = who.directory.members["us-1"]
                (lost,) = {FIRST, SECOND} - {member.registration}
                assert member.registered
                assert await digest(who, US_1, member.registration) == ""
                assert await digest(who, US_1, lost) == "member.replaced"
                ended = {
                    r.registration: r.evicted_by for r in who.directory.registrations() if r.slot == "us-1"
                }
                assert ended[member.registration] is None
                assert ended[lost] is not None
            # Whoever writes the record next makes an end of it for good.
            winner = engine.directory.members["us-1"].registration
            await join(engine, US_1, winner)
            assert engine.directory.members["us-1"].evicted.keys() == {FIRST, SECOND} - {winner}
            assert not engine.directory.members["us-1"].superseded


async def test_each_of_two_evictions_at_once_is_enough(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await join(engine, US_1, FIRST)
        for author in ("one", "other"):
            writes = [CellWrite("member/us-1", NO_GENERATION, f"evicted/{FIRST}", {"by": author})]
            await engine.write("_system", lambda _, w=writes: Intent(w), author="test")  # type: ignore[misc]
        (dot,) = engine.directory.members["us-1"].evicted.values()
        assert dot[1] <= engine.system.replica.vv[dot[0]]
        assert not engine.directory.members["us-1"].registered


async def test_an_evicted_node_sponsors_nobody(autojump_clock: object) -> None:
    async with node() as (_, engine):
        writes = [CellWrite("member/eu-1", NO_GENERATION, f"evicted/{engine.registration}", {"by": "x"})]
        await engine.write("_system", lambda _: Intent(writes), author="test")
        assert engine.enrolment.standing == "evicted"
        assert await join(engine, US_1, FIRST) == "node.not_ready"
        with pytest.raises(errors.NodeNotReady, match="vexil member return"):
            await write(engine, creates("a"))


async def test_a_node_is_a_member_only_when_its_own_row_says_so(autojump_clock: object) -> None:
    place = Place(embedded=True)
    async with running(place.engine()) as engine:
        row = await engine.seams.store.read_member("eu-1")
        assert row is not None
        assert row.registration == engine.registration == f"{engine.incarnation:016x}"
        first = engine.registration
    async with running(place.engine()) as again:
        assert again.registration == first
        assert again.incarnation != engine.incarnation
        assert again.enrolment.standing == "member"


async def test_half_a_join_is_given_up_and_nothing_of_it_is_kept(autojump_clock: object) -> None:
    async with node() as (place, engine):
        for number in range(200):
            await write(engine, creates(f"f{number}"))
        other = Place("us-1", board=place.board, seeds=("p://eu-1",), embedded=True)
        joiner = other.engine()
        with trio.CancelScope() as life:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(joiner.run)
                with trio.fail_after(10):
                    while not joiner.system.replica.vv:  # noqa: ASYNC110 - it looks at an engine from outside
                        await trio.sleep(0.0001)
                assert joiner.enrolment.standing == "joining"
                life.cancel()
        again = other.engine()
        with pytest.raises(MustReturn) as must:
            async with running(again):
                pass
        assert must.value.keep is False
        fresh = Place("us-1", board=place.board, seeds=("p://eu-1",), embedded=True)
        fresh.engine()  # its numbers are those of the first joiner
        with trio.fail_after(60):
            async with running(fresh.engine()) as joined:
                assert joined.enrolment.standing == "member"
                assert len(shop(joined).flag_keys()) == 200
                member = engine.directory.members["us-1"]
                assert member.holds(joined.registration)
                assert set(member.evicted) == {joiner.registration}


@pytest.mark.parametrize(
    "told", [BelowFloor("_system", ours=True), OtherBranch("_system"), PeerRefused(MEMBER_ASTRAY)]
)
async def test_half_a_join_that_no_other_sponsor_can_complete_is_given_up_at_once(
    autojump_clock: object, told: PeerError
) -> None:
    async def live() -> None:
        async with node() as (place, engine):
            for number in range(200):
                await write(engine, creates(f"f{number}"))
            joiner = Place("us-1", board=place.board, seeds=("p://eu-1",), embedded=True).engine()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(joiner.run)
                with trio.fail_after(10):
                    while not joiner.system.replica.vv:  # noqa: ASYNC110 - it looks at an engine from outside
                        await trio.sleep(0.0001)
                # Its sponsor and what that had alone are lost, and the others have gone on without.
                del place.board.engines["p://eu-1"]
                if isinstance(told, BelowFloor | OtherBranch):
                    joiner.snapshot_ended("_system", "eu-2", "failed", told)
                else:
                    joiner.call_failed("eu-2", "join", told)
                await trio.sleep(1)

    with pytest.raises(MustReturn) as must:
        await live()
    assert must.value.keep is False


async def test_a_member_that_starts_does_not_take_its_state_for_half_a_join(autojump_clock: object) -> None:
    async with node() as (place, _):
        other = Place("us-1", board=place.board, seeds=("p://eu-1",), embedded=True)
        async with running(other.engine()):
            pass
    del place.board.engines["p://eu-1"]
    again = other.engine()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(again.run)
        while not again.system.replica.vv:
            await trio.lowlevel.checkpoint()
        assert not again.ready
        again.enrolment.below_floor()
        again.enrolment.on_another_branch()
        with trio.fail_after(60):
            await again.until_ready()
        assert again.enrolment.standing == "member"
        nursery.cancel_scope.cancel()


async def test_a_state_without_a_row_is_kept_when_it_is_given_up(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        await make_shop(engine)
        await write(engine, creates("mine"))
    place.region = SimulatedRegion(random.Random(1))
    with pytest.raises(MustReturn) as must:
        async with running(place.engine()):
            pass
    assert must.value.keep is True


async def test_a_founder_that_ended_before_its_row_said_so_goes_on(autojump_clock: object) -> None:
    place = Place(embedded=True)
    engine = place.engine()
    store = engine.seams.store
    assert isinstance(store, Embedded)

    async def never(row: object) -> None:
        await trio.sleep_forever()

    wrote = store.write_member
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        while engine.writer is None or not engine.system.replica.vv:
            store.write_member = never if engine.writer is not None else wrote  # type: ignore[method-assign]
            await trio.sleep(0.0001)
        nursery.cancel_scope.cancel()
    async with running(place.engine()) as again:
        assert again.registration == engine.registration
        assert again.enrolment.standing == "member"


async def test_a_returning_bootstrap_node_waits_for_a_sponsor(autojump_clock: object) -> None:
    place = Place()
    engine = place.engine()
    left = SimulatedArchive(SimulatedDisk(random.Random(3)), None, "eu-1", let_go=lambda: None)
    engine.seams = replace(engine.seams, archives=(left,))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await trio.sleep(60)
        assert engine.enrolment.standing == "joining"
        assert not engine.system.replica.vv
        nursery.cancel_scope.cancel()


async def test_a_member_of_an_earlier_version_goes_on_without_a_registration(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await hear(engine, EU_2)  # it says nothing about a registration, and its record names none
        assert engine.directory.members["eu-2"].holds("")
        await evict(engine, "eu-2")
        assert await digest(engine, EU_2, "") == "member.evicted"
        assert await join(engine, EU_2, FIRST) == ""


async def test_every_request_names_the_registration_of_its_sender(autojump_clock: object) -> None:
    async with node() as (place, engine):
        heard: list[str] = []

        def script(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
            heard.append(message.text("as"))
            return {"have": {}, "gaps": []}

        place.board.scripts["p://eu-2"] = script
        await write(engine, creates("a"))
        await trio.sleep(5)
        assert heard
        assert set(heard) == {engine.registration}
