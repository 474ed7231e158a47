"""A state with what an evicted node wrote and nobody takes: who sees it, at which door, and who begins anew."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio

from tests.unit.node.engine.clusters import SEED, cluster, level, until
from tests.unit.node.engine.world import (
    SHOP,
    Place,
    Stranger,
    creates,
    node,
    push,
    running,
    shop,
    state_of,
    write,
)
from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.pen import CellWrite
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT, retired_field
from vexil.node import membership
from vexil.node.astray import evicted_incarnations
from vexil.node.engine import Engine
from vexil.node.engine_types import MustReturn
from vexil.node.enrolment import EVICTED, MEMBER
from vexil.node.gossip import messages
from vexil.node.gossip.messages import Message
from vexil.node.gossip.service import MEMBER_ASTRAY, MEMBER_EVICTED, MEMBER_EXISTS
from vexil.node.membership import SEEN_BYTES_MAX, eviction
from vexil.node.seams import PeerIdentity, PeerNonsense, PeerRefused
from vexil.node.snapshots import BeyondTheEnd

US_1, US_2 = PeerIdentity("us-1", "us"), PeerIdentity("us-2", "us")
FIRST, JOINER = "00000000000000aa", "00000000000000cc"
ENDED, AUTHOR = 0xE1, 0xA1
"""The incarnation of the evicted node, and of the member that retires it."""


async def join(
    engine: Engine, told: Mapping[str, object], *, caller: PeerIdentity = US_2, number: str = JOINER
) -> str:
    """Ask and tell; empty for an answer, else the code of the refusal."""
    urls = {"peer_url": f"p://{caller.node}", "http_url": f"h://{caller.node}", "as": number}
    try:
        await engine.peer_service.serve(caller, "join", messages.encode({**urls, **told}))
    except PeerRefused as refused:
        return refused.code
    return ""


def has(seq: int, *, incarnation: int = ENDED, project: str = SHOP) -> Mapping[str, object]:
    """What a joiner says that it has."""
    return {"seen": [], "seen_by_project": {project: [incarnation, seq]}}


async def begins(engine: Engine, incarnation: int) -> None:
    """A process has begun in the slot us-1."""
    written = membership.begin(node="us-1", region="us", incarnation=incarnation)
    await engine.write("_system", lambda _: written, author="test")


async def evicts(engine: Engine, *, back: bool = False) -> None:
    """us-1 has run under `ENDED`, and has been evicted; ``back``: and has a registration of another name since."""
    await join(engine, {}, caller=US_1, number=FIRST)
    for incarnation in (0xD1, ENDED):
        await begins(engine, incarnation)
    await engine.write(
        "_system", lambda _: eviction(engine.directory, "us-1", own="eu-1", by="test"), author="test"
    )
    if back:
        assert await join(engine, {}, caller=US_1, number="00000000000000bb") == ""
        await begins(engine, 0xD2)


def history() -> tuple[list[Change], Change]:
    """Three changes of `ENDED`, and one that says that there are two."""
    evicted, other = Stranger(ENDED), Stranger(AUTHOR)
    changes = [evicted.create(key) for key in "abc"]
    for change in changes[:2]:
        other.replica.apply(change)
    return changes, other.write([CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(ENDED), 2)])


@pytest.mark.parametrize("back", [False, True], ids=["away", "back under another name"])
@pytest.mark.parametrize("ended", [False, True], ids=["not retired", "retired"])
async def test_a_stranger_with_more_of_an_evicted_node_in_any_project_begins_anew(
    autojump_clock: object, *, back: bool, ended: bool
) -> None:
    changes, end = history()
    async with node() as (_, engine):
        await evicts(engine, back=back)
        await push(engine, [*changes[:2], *([end] if ended else [])])
        before = state_of(engine)
        assert await join(engine, has(3)) == MEMBER_ASTRAY
        assert await join(engine, has(1, project="unheard-of")) == MEMBER_ASTRAY
        assert state_of(engine) == before
        assert await join(engine, has(2)) == "", "it has no more than we have"


async def test_a_stranger_may_be_ahead_of_us_in_what_counts(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await evicts(engine, back=True)
        assert await join(engine, has(7, incarnation=0xD2)) == "", "us-1 runs under it, and is a member"
    async with node() as (_, engine):
        assert await join(engine, has(7)) == "", "nobody was evicted"


async def test_one_that_was_registered_and_did_not_hear_of_it_is_looked_at_when_it_asks_again(
    autojump_clock: object,
) -> None:
    changes, end = history()
    async with node() as (_, engine):
        await evicts(engine)
        await push(engine, changes[:2])
        assert await join(engine, has(2)) == ""
        assert await join(engine, has(3)) == "", "a member may be ahead of us until there is an end"
        await push(engine, [end])
        assert await join(engine, has(3)) == MEMBER_ASTRAY
        assert await join(engine, has(2)) == ""


async def test_an_evicted_node_hears_that_it_was_evicted_whatever_it_has(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await evicts(engine)
        assert await join(engine, has(3), caller=US_1, number=FIRST) == "member.evicted"


@pytest.mark.parametrize("seen", [{}, {"seen": []}], ids=["nothing", "`_system` alone"])
async def test_an_earlier_version_joins_that_says_less(
    autojump_clock: object, seen: Mapping[str, object]
) -> None:
    async with node() as (_, engine):
        await evicts(engine)
        assert await join(engine, seen) == ""


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        [],
        "shop",
        {"x" * (messages.NAME_BYTES_MAX + 1): []},
        {SHOP: None},
        {SHOP: {}},
        {SHOP: [1]},
        {SHOP: [0, 1]},
        {SHOP: [1, 0]},
        {SHOP: [1, -1]},
        {SHOP: [1, True]},
        {SHOP: [1, 1.0]},
        {SHOP: ["1", 1]},
    ],
)
async def test_vectors_that_are_none_are_refused_and_say_where(autojump_clock: object, bad: object) -> None:
    async with node() as (_, engine):
        before = state_of(engine)
        body = {"peer_url": "p://us-2", "http_url": "h://us-2", "as": JOINER, "seen_by_project": bad}
        with pytest.raises(PeerRefused, match="seen_by_project") as refused:
            await engine.peer_service.serve(US_2, "join", messages.encode(body))
        assert refused.value.code == "request.malformed"
        assert state_of(engine) == before


async def test_a_joiner_tells_what_it_has_of_all_projects_as_far_as_there_is_room(
    autojump_clock: object,
) -> None:
    told: list[Message] = []

    def script(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
        told.append(message)
        raise PeerRefused("node.not_ready")

    async with node() as (place, engine):
        await write(engine, creates("a"))
        place.board.scripts["p://seed"] = script
        joining = membership.Joining(
            engine,
            engine._exchange,
            seeds=["p://seed"],
            peer_url="p://eu-1",
            http_url="h://eu-1",
            rng=engine.seams.rng,
        )
        assert not await joining.try_once()
        assert told[-1].vv("seen") == engine.system.replica.vv
        assert told[-1].vv_by_project("seen_by_project") == {SHOP: shop(engine).replica.vv}
        vector = {(1 << 63) + i: (1 << 63) + i for i in range(1_000)}
        for number in range(400):
            project = engine.make_project(f"p{number:03}", Replica())
            project.replica.vv = dict(vector)
        assert not await joining.try_once()
        some = told[-1].vv_by_project("seen_by_project")
        assert 0 < len(some) < 400
        size = len(messages.encode({"seen_by_project": {n: messages.flat_vv(v) for n, v in some.items()}}))
        assert SEEN_BYTES_MAX * 0.9 < size <= SEEN_BYTES_MAX


@pytest.mark.parametrize("whole", [True, False], ids=["by a member", "by half a state"])
async def test_a_sponsor_with_more_of_an_evicted_node_is_refused_by_a_member_alone(
    autojump_clock: object, *, whole: bool
) -> None:
    asked: list[str] = []

    def script(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
        asked.append(method)
        return {"node": "us-2", "region": "us", "projects": {"_system": [], SHOP: [ENDED, 3]}}

    changes, _ = history()
    async with node() as (place, engine):
        await evicts(engine)
        await push(engine, changes[:2])
        place.board.scripts["p://us-2"] = script
        joining = membership.Joining(
            engine,
            engine._exchange,
            seeds=["p://us-2"],
            peer_url="p://eu-1",
            http_url="h://eu-1",
            rng=engine.seams.rng,
            from_nothing=lambda: not whole,
        )
        assert not await joining.try_once()
        assert asked == (["join"] if whole else ["join", "pull"])


async def test_what_is_pushed_beyond_an_end_is_no_fork_and_its_sender_begins_anew(
    autojump_clock: object,
) -> None:
    changes, end = history()
    async with node() as (_, engine):
        await evicts(engine)
        await push(engine, [*changes[:2], end])
        with pytest.raises(PeerRefused) as refused:
            await push(engine, changes)
        assert refused.value.code == MEMBER_ASTRAY
        assert engine.alarms.forks == 0
        assert shop(engine).flag_keys() == ["a", "b"]
        await push(engine, changes[:2])


async def test_beyond_the_end_of_what_nobody_evicted_it_is_a_fork(autojump_clock: object) -> None:
    changes, end = history()
    async with node() as (_, engine):
        await push(engine, [*changes[:2], end])
        await push(engine, changes)
        assert engine.alarms.forks == 1


async def test_a_node_that_learns_of_an_end_that_it_is_beyond_begins_anew(autojump_clock: object) -> None:
    changes, end = history()

    async def live() -> None:
        async with node() as (_, engine):
            await push(engine, changes)
            await push(engine, [end])
            await trio.sleep(1)

    with pytest.raises(MustReturn) as must:
        await live()
    assert must.value.keep


async def test_a_fork_has_two_ends_and_neither_is_gone_beyond(autojump_clock: object) -> None:
    changes, end = history()
    async with node() as (_, engine):
        engine.fork_seen(SHOP, ENDED, "eu-2")
        await push(engine, changes)
        await push(engine, [end])
        await trio.sleep(1)
        assert engine.enrolment.standing == "member"


async def test_it_begins_anew_also_when_it_was_killed_before_it_could(autojump_clock: object) -> None:
    changes, end = history()
    place = Place(embedded=True)
    async with node(place) as (_, engine):
        with trio.CancelScope() as life:
            engine.enrolment.beyond_the_end = life.cancel  # type: ignore[method-assign]
            await push(engine, [*changes, end])
            await trio.sleep(1)
        assert life.cancelled_caught

    async def live_on() -> None:
        async with running(place.engine()):
            await trio.sleep(1)

    with pytest.raises(MustReturn):
        await live_on()


async def test_a_snapshot_that_knows_of_the_end_tells_it_as_well(autojump_clock: object) -> None:
    changes, end = history()

    async def live() -> None:
        async with node() as (place, ahead):
            await push(ahead, changes[:2])
            other = Place("us-1", board=place.board, seeds=("p://eu-1",))
            async with running(other.engine()) as behind:
                await push(behind, changes)
                await push(ahead, [end])
                with pytest.raises(BeyondTheEnd):
                    await behind.snapshots.take(behind.peers["eu-1"], shop(behind))
                await trio.sleep(1)

    with pytest.raises(MustReturn):
        await live()


async def test_of_an_evicted_node_nothing_goes_on_waiting(autojump_clock: object) -> None:
    changes, _ = history()
    async with node() as (_, engine):
        await push(engine, [changes[1]])
        assert [*shop(engine).waiting] == [(ENDED, 2)]
        await evicts(engine)
        assert not shop(engine).waiting
        await push(engine, [changes[0]])
        assert shop(engine).replica.known(ENDED) == 1


async def test_what_ran_last_in_a_slot_is_over_with_its_registration_before_anybody_has_begun_there(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        await join(engine, {}, caller=US_1, number=membership.registration_of(ENDED))
        await begins(engine, ENDED)
        assert ENDED not in evicted_incarnations(engine.directory)
        await engine.write(
            "_system", lambda _: eviction(engine.directory, "us-1", own="eu-1", by="test"), author="test"
        )
        await join(engine, {}, caller=US_1, number=JOINER)
        assert engine.is_member("us-1", JOINER)
        assert ENDED in evicted_incarnations(engine.directory)


async def test_what_is_on_its_way_from_a_member_is_not_taken_once_it_is_evicted(
    autojump_clock: object,
) -> None:
    changes, _ = history()
    async with node() as (_, engine):
        await join(engine, {}, caller=US_1, number=FIRST)
        admit = engine.while_member("us-1", FIRST)
        assert (await engine.receive(shop(engine), changes[:1], "us-1", admit)).applied == 1
        await engine.write(
            "_system", lambda _: eviction(engine.directory, "us-1", own="eu-1", by="test"), author="test"
        )
        before = state_of(engine)
        with pytest.raises(PeerRefused) as refused:
            await engine.receive(shop(engine), changes[1:], "us-1", admit)
        assert refused.value.code == MEMBER_EVICTED
        assert state_of(engine) == before


async def test_what_is_asked_of_a_member_in_an_exchange_that_outlasts_its_eviction_is_not_taken(
    autojump_clock: object,
) -> None:
    async with cluster("eu-1", "us-1") as nodes:
        engine, evicted = nodes["eu-1"], nodes["us-1"]
        await until(lambda: level((engine, evicted)))
        peer = engine.peers["us-1"]
        await engine.write(
            "_system", lambda _: eviction(engine.directory, "us-1", own="eu-1", by="test"), author="test"
        )
        await write(evicted, creates("g"))
        before = state_of(engine)
        for take in (engine._exchange.pull, engine.snapshots.take):
            with pytest.raises(PeerNonsense):
                await take(peer, shop(engine))
            assert state_of(engine) == before
        await until(lambda: evicted.enrolment.standing == EVICTED)
        assert engine.enrolment.standing == MEMBER


async def test_who_asks_its_seeds_again_takes_nothing_of_one_that_was_evicted_and_does_not_know(
    autojump_clock: object,
) -> None:
    async with cluster(SEED, "us-1", "ap-1") as nodes:
        evicted, asks = nodes[SEED], nodes["us-1"]
        await until(lambda: level([*nodes.engines.values()]))
        nodes.cut(SEED)
        await asks.write(
            "_system", lambda _: eviction(asks.directory, SEED, own="us-1", by="test"), author="test"
        )
        # Nobody has heard of its new name: by its vectors nothing of it is of an evicted node.
        evicted.fork_seen(SHOP, evicted.incarnation, "test")
        await write(evicted, creates("g"))
        nodes.mend(SEED)
        assert not await asks.enrolment._joining.try_once()
        assert not shop(asks).replica.known(evicted.incarnation)


async def test_a_slot_is_given_to_the_one_who_answers_in_it(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await join(engine, {}, caller=US_1, number=FIRST)
        peer = engine.peers["us-1"]
        peer.heard(offset_ms=None)
        assert await join(engine, {}, caller=US_1) == MEMBER_EXISTS, "its process runs, as far as we know"
        peer.answers_as = FIRST
        assert await join(engine, {}, caller=US_1) == MEMBER_EXISTS
        peer.answers_as = JOINER
        assert await join(engine, {}, caller=US_1) == ""
        assert engine.is_member("us-1", JOINER)
