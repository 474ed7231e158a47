"""A member of whom nobody who answers has heard: it says so after a while, and then begins anew by itself."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio

from tests.unit.node.engine.world import creates, node, taking, write
from vexil.node.engine import Engine
from vexil.node.engine_types import MustReturn
from vexil.node.enrolment import UNKNOWN_RETURN_S, UNKNOWN_TOLD_S
from vexil.node.errors import MemberRefused
from vexil.node.gossip.messages import Message
from vexil.node.seams import PeerIdentity, PeerRefused

UNKNOWN = PeerRefused("member.unknown", "eu-1 is not registered here")


async def be_unknown(engine: Engine, seconds: float) -> None:
    """Be told so every second; a moment longer than ``seconds``."""
    for _ in range(int(seconds) + 1):
        engine.call_failed("eu-2", "digest", UNKNOWN)
        await trio.sleep(1)


async def test_it_is_told_after_some_seconds_and_its_writes_go_on(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await be_unknown(engine, UNKNOWN_TOLD_S - 2)
        assert engine.status()["standing"] == "member"
        await be_unknown(engine, 3)
        assert engine.status()["standing"] == "unknown"
        assert engine.status()["alarms"]["unknown"] == 1
        await write(engine, creates("a"))


async def test_after_a_while_it_begins_anew_and_keeps_what_it_has(autojump_clock: object) -> None:
    async def live() -> None:
        async with node() as (_, engine):
            await be_unknown(engine, UNKNOWN_RETURN_S - 2)
            assert engine.status()["standing"] == "unknown"
            await be_unknown(engine, 3)

    with pytest.raises(MustReturn) as must:
        await live()
    assert must.value.keep


async def test_an_operator_need_not_wait_for_it(autojump_clock: object) -> None:
    async def live() -> None:
        async with node() as (_, engine):
            with pytest.raises(MemberRefused):
                engine.return_now()
            await be_unknown(engine, UNKNOWN_TOLD_S + 1)
            engine.return_now()
            await trio.sleep(1)

    with pytest.raises(MustReturn):
        await live()


@pytest.mark.parametrize("evicted", [False, True])
async def test_one_who_answers_is_enough_unless_it_was_evicted(
    autojump_clock: object, *, evicted: bool
) -> None:
    def peer(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
        return {**taking(caller, method, message), "evicted": evicted}

    async with node() as (place, engine):
        await be_unknown(engine, UNKNOWN_TOLD_S + 1)
        place.board.scripts["p://eu-2"] = peer
        await engine._exchange.sync(engine.peers["eu-2"])
        assert engine.status()["standing"] == ("unknown" if evicted else "member")
        if not evicted:
            await be_unknown(engine, UNKNOWN_RETURN_S - 2)
            assert engine.status()["standing"] == "unknown", "it is counted anew"


async def test_a_long_silence_in_between_does_not_count(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await be_unknown(engine, 1)
        await trio.sleep(2 * UNKNOWN_RETURN_S)
        await be_unknown(engine, 1)
        assert engine.status()["standing"] == "member"


async def test_an_evicted_node_says_so_to_whoever_asks(autojump_clock: object) -> None:
    async with node() as (_, engine):
        assert not engine.evicted
        engine.call_failed("eu-2", "digest", PeerRefused("member.evicted", "eu-1 was evicted"))
        assert engine.evicted
        await be_unknown(engine, UNKNOWN_RETURN_S + 1)
        assert engine.status()["standing"] == "evicted", "an eviction was a person's decision"
