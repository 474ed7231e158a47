"""Processes that die at a moment, at a point of the protocol or at any await, that stop as planned, or stand still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Final

import trio

from vexil.chaos.faults.fault import (
    AGAIN_S,
    Drawn,
    End,
    Ground,
    World,
    kind,
    node_for,
    nothing_to_undo,
    some_node,
)
from vexil.chaos.run.plan import Fault
from vexil.chaos.world import protocol_steps
from vexil.chaos.world.protocol_steps import ARCHIVE, CLIENT_WRITE, LOAD, STEPS
from vexil.chaos.world.scheduler_steps import at_step
from vexil.chaos.world.simulated_slot import Process, Slot

POINT_S: Final = 20.0
"""How long a fault waits for the processes of a place to come to its point."""
STEPS_MAX: Final = 120
"""Of the scheduler; what an idle node does in some seconds."""
FEWER: Final = 4
"""Only a part of the steps is waited for in the next process: there is no knowing how long that will live."""
START: Final = frozenset(
    (LOAD, "journal replay", "store read member", "store read fold", "store fold checkpoints", "call join")
)
"""Steps that a process only makes when it starts: it is started for them."""
COMMON: Final = (
    LOAD, "journal append", "journal sync", "store read member", "store write member", "store write changes",
    "store write fold", "call push", "call digest", "serve push", CLIENT_WRITE,
)  # fmt: skip
"""Steps that nearly every process makes again and again."""
LESS_COMMON: Final = (
    "serve digest", "call pull", "call announce", "serve pull", "serve announce", "journal read", "store read changes",
)  # fmt: skip
"""Steps that nearly every process makes, of those that live for some seconds."""
LESS_OFTEN: Final = 0.35
"""How often one of them is waited for."""
RARE: Final = 0.15
"""How often any step is waited for, whether or not a process will ever make it."""
LONG_S: Final = 15.0
"""A run that is shorter has no time for either."""


Aim = Callable[[Process, Callable[[], None]], AbstractAsyncContextManager[None]]
"""Inside of it, what it is given is called at a certain moment in the life of a process."""


@kind("crash", weight=3, enabled=0.6, draw=some_node, needs_s=3.0)
async def crash(world: World, fault: Fault, rng: Random) -> End | None:
    """A process is killed at this moment; it is started again after a while."""
    process = await world.until_running(fault)
    if process is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    world.note_steps(fault, process)
    world.cluster.crash(slot, process)
    world.start_later(slot, rng)
    return nothing_to_undo


def _point(rng: Random, ground: Ground) -> Drawn:
    (steps,) = rng.choices((STEPS, LESS_COMMON, COMMON), (RARE, LESS_OFTEN, 1 - RARE - LESS_OFTEN))
    step = rng.choice(COMMON if ground.work_s < LONG_S else steps)
    return Drawn((rng.choice(ground.nodes),), point=f"{rng.choice(('before', 'after'))} {step}")


@kind("crash_at_point", weight=4, enabled=0.5, draw=_point, needs_s=8.0)
async def crash_at_point(world: World, fault: Fault, rng: Random) -> End | None:
    """A process is killed as soon as it begins, or has just ended, a certain step.

    For a step of a start it is killed first, and dies again while it starts. It has not struck if no process of the
    place comes to the point within `POINT_S`.
    """
    step = fault.point.partition(" ")[2]
    slot = world.cluster.slots.get(fault.places[0])
    starts = slot is not None and (step in START or (step in ARCHIVE and bool(slot.archives)))

    @asynccontextmanager
    async def aim(victim: Process, strike: Callable[[], None]) -> AsyncIterator[None]:
        victim.life.at_point(fault.point, strike)
        try:
            yield
        finally:
            victim.life.forget_point(fault.point)

    return await _kill(world, fault, rng, aim, step, starts=starts)


def _await(rng: Random, ground: Ground) -> Drawn:
    # As many below ten as above: what follows at once on something else takes few steps.
    return Drawn((rng.choice(ground.nodes),), amount=int(STEPS_MAX ** rng.random()))


@kind("crash_at_step", weight=3, enabled=0.5, draw=_await, needs_s=4.0)
async def crash_at_step(world: World, fault: Fault, rng: Random) -> End | None:
    """A process is killed at the ``amount``-th step that the scheduler lets its tasks make from now on.

    If something else ends it before that, the next one of the place has fewer steps to make.
    """
    steps = int(fault.amount) * FEWER

    @asynccontextmanager
    async def aim(victim: Process, strike: Callable[[], None]) -> AsyncIterator[None]:
        nonlocal steps
        steps = max(1, steps // FEWER)
        while victim.task is None:  # It is launched, and has not had its first turn.
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at_step, victim.task, steps, strike)
            yield
            nursery.cancel_scope.cancel()

    return await _kill(world, fault, rng, aim)


async def _kill(
    world: World, fault: Fault, rng: Random, aim: Aim, *steps: str, starts: bool = False
) -> End | None:
    """Kill the process at the fault's place at the moment of ``aim``; if it ends before that, the next one there.

    ``starts``: that moment is in the start of a process, so each is killed first, and started for it.
    """
    (name,) = fault.places
    struck = False
    with trio.move_on_after(POINT_S):
        while not struck:
            process = await world.until_running(fault)
            if process is None:
                return None
            slot = world.cluster.slots[name]
            if starts:
                await world.halt(slot)
                world.cluster.launch(slot)
                assert slot.process is not None
                process = slot.process
            over = trio.Event()

            def strike(victim: Process = process, slot: Slot = slot, over: trio.Event = over) -> None:
                nonlocal struck
                if victim.life.alive and not struck:
                    struck = True
                    world.note_steps(fault, victim, *steps)
                    world.cluster.crash(slot, victim)
                over.set()

            # It is aimed at before the process has its next turn.
            async with aim(process, strike), trio.open_nursery() as nursery:
                nursery.start_soon(_tell_end, process, over)
                await over.wait()
                nursery.cancel_scope.cancel()
            if not struck:
                await trio.sleep(AGAIN_S)
    if not struck:
        return None
    world.start_later(world.cluster.slots[name], rng)
    return nothing_to_undo


async def _tell_end(process: Process, over: trio.Event) -> None:
    await process.ended.wait()
    over.set()


@kind("stop", weight=2, enabled=0.5, draw=some_node, needs_s=6.0)
async def stop(world: World, fault: Fault, rng: Random) -> End | None:
    """A process is stopped as planned: it writes what its store lacks, ends, and is started again after a while."""
    process = await world.until_running(fault)
    if process is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    world.note_steps(fault, process)
    await world.cluster.stop(slot)
    world.start_later(slot, rng)
    return nothing_to_undo


@kind("pause", weight=2, enabled=0.5, draw=node_for(0.2, 10.0), needs_s=3.0)
async def pause(world: World, fault: Fault, rng: Random) -> End | None:
    """A process stands still: nothing that it asks for, or is asked for, goes on; its clock and its timers do."""
    process = await world.until_running(fault)
    if process is None or process.life.stands_still:
        return None
    world.note_steps(fault, process)
    process.life.stand_still()

    async def go_on() -> None:
        await trio.lowlevel.checkpoint()
        process.life.go_on()

    return go_on


assert {*COMMON, *LESS_COMMON} | START <= set(protocol_steps.STEPS), "a step is misspelt"
