"""The simulated network's damages, and that links are independent of each other."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from random import Random

import pytest
import trio
import trio.testing

from vexil.chaos.world.determinism import Streams
from vexil.chaos.world.process_life import ProcessLife
from vexil.chaos.world.simulated_network import NetworkFaults, SimulatedNetwork, corrupted
from vexil.chaos.world.trace import Trace
from vexil.node.gossip import messages
from vexil.node.gossip.messages import Malformed, Message
from vexil.node.seams import PeerAddress, PeerIdentity, PeerUnreachable

A, B, C = (PeerIdentity(f"{region}-1", region) for region in ("eu", "us", "ap"))
MESSAGE = messages.encode(
    {"changes": {"demo": [bytes(200), b"\x91" * 300]}, "as": "0123456789abcdef", "n": 7}
)


def address(identity: PeerIdentity) -> PeerAddress:
    return PeerAddress(identity.node, identity.region, f"sim://{identity.node}")


class World:
    """Three nodes that answer whatever they are asked with the same bytes."""

    def __init__(self, nursery: trio.Nursery, faults: NetworkFaults | None = None) -> None:
        self.network = SimulatedNetwork(Streams(1), Trace(), faults)
        self.got: list[bytes] = []
        for identity in (A, B, C):
            self.network.attach(f"sim://{identity.node}", identity, self.handle, nursery, ProcessLife())

    async def handle(self, caller: PeerIdentity, method: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        self.got.append(body)
        return MESSAGE

    async def call(self, source: PeerIdentity, target: PeerIdentity, body: bytes = MESSAGE) -> bytes:
        transport = self.network.transport(source, ProcessLife())
        return await transport.call(address(target), "push", body, timeout_ms=10_000)

    async def took(self, source: PeerIdentity, target: PeerIdentity) -> float:
        began_s = trio.current_time()
        await self.call(source, target)
        return trio.current_time() - began_s


def test_a_corrupted_message_can_never_be_read() -> None:
    rng = Random(1)
    damaged = [corrupted(MESSAGE, rng) for _ in range(2_000)]
    assert len(set(damaged)) > 1_000
    for message in damaged:
        assert len(message) == len(MESSAGE)
        with pytest.raises(Malformed):
            Message.decode(message)


@pytest.mark.parametrize("faults", [NetworkFaults(truncate=1), NetworkFaults(corrupt=1)])
async def test_what_arrives_damaged_is_refused_by_whoever_reads_it(
    autojump_clock: trio.testing.MockClock, faults: NetworkFaults
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery, faults)
        answers = [await world.call(A, B) for _ in range(20)]
        for message in (*world.got, *answers):
            with pytest.raises(Malformed):
                Message.decode(message)
        assert len({*world.got}) > 10
        (name,) = world.network.fired
        assert world.network.fired[name] == 40
        nursery.cancel_scope.cancel()


async def test_what_one_link_carries_changes_nothing_on_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults = NetworkFaults(slow=0.3, lose_answer=0.2, duplicate_request=0.3)

    async def times(*before: PeerIdentity) -> list[float]:
        async with trio.open_nursery() as nursery:
            world = World(nursery, faults)
            found = []
            for _ in range(20):
                for other in before:
                    with trio.move_on_after(30):
                        with suppress(PeerUnreachable):
                            await world.call(C, other)
                try:
                    found.append(round(await world.took(A, B), 6))
                except PeerUnreachable:
                    found.append(-1.0)
            nursery.cancel_scope.cancel()
        return found

    assert await times() == await times(A, B, B)


async def test_a_burden_is_of_one_direction_and_can_be_lifted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        sound_s = max([await world.took(A, B) for _ in range(20)])
        lift = world.network.burden("eu", "us-1", added_ms=5_000)
        assert max([await world.took(A, B) for _ in range(20)]) > sound_s + 1
        assert max([await world.took(A, C) for _ in range(20)]) <= sound_s + 0.1
        lift()
        lift()
        assert max([await world.took(A, B) for _ in range(20)]) <= sound_s + 0.1
        world.network.burden("us", "eu", bytes_per_s=len(MESSAGE) / 4)
        assert await world.took(A, B) > 4
        assert await world.took(B, A) > 4
        assert await world.took(A, C) < 1
        world.network.mend_all()
        assert await world.took(A, B) < 1
        nursery.cancel_scope.cancel()


async def test_refusals_and_cuts_that_overlap_are_undone_one_by_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        for do, undo in (
            (world.network.refuse, world.network.admit),
            (world.network.cut, world.network.mend),
        ):
            do("eu", "us")
            do("eu", "us")
            undo("eu", "us")
            with pytest.raises(PeerUnreachable):
                await world.call(A, B)
            undo("eu", "us")
            await world.call(A, B)
        nursery.cancel_scope.cancel()


async def test_a_node_that_stands_still_answers_when_it_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        life = ProcessLife()
        world.network.attach("sim://us-1", B, world.handle, nursery, life)
        life.stand_still()
        counts: Counter[str] = Counter()

        async def ask() -> None:
            await world.call(A, B)
            counts["answers"] += 1

        nursery.start_soon(ask)
        await trio.sleep(5)
        assert (counts["answers"], life.steps_under_way()) == (0, ["serve push"])
        life.go_on()
        await trio.sleep(1)
        assert (counts["answers"], life.steps_under_way()) == (1, [])
        nursery.cancel_scope.cancel()
