"""A change from below the floor is no fork: it is put aside, and its author, once it is told, begins anew."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio

from tests.unit.node.engine.world import EU_2, SHOP, Stranger, deaf, node, push, shop, taking
from vexil.crdt.change import Change
from vexil.node import stranded
from vexil.node.engine import Engine
from vexil.node.engine_types import MustReturn
from vexil.node.gossip import messages
from vexil.node.gossip.messages import Message
from vexil.node.gossip.peers import Peer
from vexil.node.project import Project
from vexil.node.seams import PeerIdentity
from vexil.node.stranded import Stranded

OTHER, AUTHOR = 0xA1, 0xA2


async def refuse_one(engine: Engine) -> tuple[Change, Message]:
    """A change whose author has not seen what has been collected here, and what its sender is told."""
    seen = Stranger(OTHER).create("a")
    await push(engine, [seen])
    shop(engine).replica.advance_floor({OTHER: 1})
    below = Stranger(AUTHOR).create("b")
    return below, await push(engine, [below])


async def digest(engine: Engine, *told: int) -> Message:
    members = {"wall_ms": 1, "ages": {}, "projects": {}, "below_floor": list(told)}
    body = messages.encode({"as": "", **members})
    return Message.decode(await engine.peer_service.serve(EU_2, "digest", body))


async def test_a_change_from_below_the_floor_is_put_aside_and_is_no_fork(autojump_clock: object) -> None:
    async with node() as (place, engine):
        before = engine.incarnation
        below, answer = await refuse_one(engine)
        assert shop(engine).flag_keys() == ["a"]
        assert shop(engine).stopped == {AUTHOR}
        assert (engine.alarms.forks, engine.forks.incarnations, engine.incarnation) == (0, set(), before)
        await trio.sleep(1)
        assert [(r.reason, r.raw) for r in await place.store().read_aside()] == [("below-floor", below.raw)]
        assert answer.incarnations("below_floor") == [AUTHOR]
        assert (await digest(engine)).incarnations("below_floor") == [AUTHOR]
        await push(engine, [Stranger(0xA3).create("c")])
        assert engine.alarms.forks == 0


async def test_what_is_heard_of_others_is_told_on_and_nothing_of_theirs_is_refused_for_it(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        await digest(engine, AUTHOR)
        assert (await digest(engine)).incarnations("below_floor") == [AUTHOR]
        await push(engine, [Stranger(AUTHOR).create("b")])
        assert shop(engine).flag_keys() == ["b"]
        asked: list[list[int]] = []

        def peer(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
            asked.append(message.incarnations("below_floor"))
            return {**taking(caller, method, message), "below_floor": [OTHER]}

        place.board.scripts["p://eu-2"] = peer
        await engine._exchange.sync(engine.peers["eu-2"])
        assert asked[0] == [AUTHOR]
        assert (await digest(engine)).incarnations("below_floor") == [OTHER, AUTHOR]


async def test_whoever_hears_its_own_name_in_a_digest_begins_anew_and_keeps_what_it_has(
    autojump_clock: object,
) -> None:
    async def live() -> None:
        async with node() as (_, engine):
            await digest(engine, AUTHOR, engine.incarnation)
            await trio.sleep(1)

    with pytest.raises(MustReturn) as must:
        await live()
    assert must.value.keep


@pytest.mark.parametrize("by", ["digest", "push"])
async def test_whoever_is_told_its_own_name_in_an_answer_begins_anew(autojump_clock: object, by: str) -> None:
    async def live() -> None:
        async with node() as (place, engine):

            def peer(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
                answer = dict(taking(caller, method, message))
                return {**answer, "below_floor": [engine.incarnation]} if method == by else answer

            place.board.scripts["p://eu-2"] = peer
            if by == "push":
                await engine._exchange.push(engine.peers["eu-2"], {SHOP: []})
            else:
                await engine._exchange.sync(engine.peers["eu-2"])
            await trio.sleep(1)

    with pytest.raises(MustReturn):
        await live()


@pytest.mark.parametrize("names", [True, False])
async def test_the_state_of_a_peer_that_has_taken_it_is_taken_unless_the_peer_lacks_what_is_collected_here(
    autojump_clock: object, names: bool
) -> None:
    async with node() as (place, engine):
        third = Stranger(0xA3)
        first = third.create("c")
        await push(engine, [first, third.create("d")])
        below, _ = await refuse_one(engine)
        shop(engine).replica.advance_floor({OTHER: 1, 0xA3: 2})
        taken: list[str] = []

        async def take(peer: Peer, project: Project) -> None:
            taken.append(project.name)

        engine._exchange.on_behind = take
        # An incarnation that is retired there is in no vector: the peer may have all of it.
        heads = [AUTHOR, 1, below.chain, *((0xA3, 1, first.chain) if names else ())]

        def peer(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
            return {**deaf(caller, method, message), "projects": {SHOP: [heads, "another root"]}}

        place.board.scripts["p://eu-2"] = peer
        await engine._exchange.sync(engine.peers["eu-2"])
        assert taken == ([] if names else [SHOP])


def test_of_too_many_the_latest_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stranded, "STRANDED_MAX", 2)
    told: list[int] = []
    known = Stranded(told.append)
    for incarnation in (3, 2, 3, 1):
        known.note(incarnation)
    assert known.incarnations == [1, 2]
    assert told == [3, 2, 3, 1]
