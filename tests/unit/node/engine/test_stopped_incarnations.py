"""A stop ends with the process: what waited of the incarnation, here or on the own disk, is not lost for good."""

from __future__ import annotations

import msgpack
import trio

from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Place,
    Stranger,
    check_roots,
    make_shop,
    node,
    push,
    running,
    shop,
    state_of,
)
from vexil.chaos.world.simulated_disk import SimulatedJournal
from vexil.node.seams import LogRecord

STOPPED = 0xA1
JUNK = bytes(msgpack.packb([99, STOPPED, 1, "a future"]))
"""A change of a version that has thrown the format away, but for what all versions keep."""


async def test_what_waited_of_a_stopped_incarnation_is_pulled_again_after_a_restart(
    autojump_clock: object,
) -> None:
    place, life = Place(), trio.CancelScope()
    engine = place.engine()

    async def live(*, task_status: trio.TaskStatus[None]) -> None:
        with life:
            await engine.run(task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(live)
        await make_shop(engine, members=(EU_2,))
        other = Place("eu-3", board=place.board, seeds=("p://eu-1",), digests=True)
        async with running(other.engine()) as there:
            engine.links.set("eu-1", "eu-3", cut=True)
            theirs, third = Stranger(STOPPED), Stranger(0xA3)
            log = [theirs.create(f"f{n}") for n in range(5)]
            await push(there, [*log, third.create("g")])
            await push(engine, log[1:])
            assert len(shop(engine).waiting) == 4
            await push(engine, [JUNK])
            assert not shop(engine).waiting
            engine.links.set("eu-1", "eu-3", cut=False)
            await trio.sleep(30)
            # Asked for no more by this process, but everybody else's comes.
            assert shop(engine).flag_keys() == ["g"]
            life.cancel()
            async with running(place.engine()) as again:
                await trio.sleep(30)
                assert shop(again).flag_keys() == ["f0", "f1", "f2", "f3", "f4", "g"]
                assert state_of(again)[SHOP] == state_of(there)[SHOP]
                check_roots(again)


async def test_what_waited_in_the_journal_of_a_stopped_incarnation_waits_there_for_the_next_start(
    autojump_clock: object,
) -> None:
    """It may have been acknowledged by an earlier process: the journal keeps it, whatever comes under its name."""
    async with node() as (place, _):
        pass
    first, second = Stranger(0xA2), Stranger(STOPPED)
    cause = first.create("cause")
    second.replica.apply(cause)
    effect = second.create("effect")
    await SimulatedJournal(place.disk).append([LogRecord(SHOP, *effect.dot, effect.raw)])
    async with running(place.engine()) as engine:
        assert list(shop(engine).waiting) == [effect.dot]
        await push(engine, [JUNK])
        assert not shop(engine).waiting
        await push(engine, [cause])
        assert shop(engine).flag_keys() == ["cause"]
    async with running(place.engine()) as engine:
        assert shop(engine).flag_keys() == ["cause", "effect"]
        check_roots(engine)
