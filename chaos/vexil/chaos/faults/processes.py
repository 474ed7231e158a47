"""Processes that die at a moment, at a point of the protocol or at any await, that stop as planned, or stand still."""

from __future__ import annotations

from random import Random
from typing import Final

import trio

from vexil.chaos.faults.fault import Drawn, End, Ground, World, kind, node_for, nothing_to_undo, some_node
from vexil.chaos.run.plan import Fault
from vexil.chaos.world import protocol_steps
from vexil.chaos.world.protocol_steps import ARCHIVE, CLIENT_WRITE, LOAD, STEPS
from vexil.chaos.world.scheduler_steps import at_step

POINT_S: Final = 8.0
"""How long a fault waits for a process to come to its point."""
STEPS_MAX: Final = 300
"""Of the scheduler; what an idle node does in some seconds."""
START: Final = frozenset(
    (LOAD, "journal replay", "store read member", "store read fold", "store fold checkpoints", "call join")
)
"""Steps that a process only makes when it starts: it is started for them."""
COMMON: Final = (
    LOAD, "journal append", "journal sync", "store read member", "store write member", "store write changes",
    "store write fold", "call push", "call pull", "call digest", "call announce", "serve push", "serve pull",
    "serve digest", "serve announce", CLIENT_WRITE,
)  # fmt: skip
"""Steps that nearly every process makes again and again."""
RARE: Final = 0.1
"""How often any other step is waited for, whether or not a process will ever make it."""


@kind("crash", weight=3, enabled=0.6, draw=some_node)
async def crash(world: World, fault: Fault, rng: Random) -> End | None:
    """A process is killed at this moment; it is started again after a while."""
    process = await world.until_running(fault.places[0])
    if process is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    world.note_steps(fault, process)
    world.cluster.crash(slot, process)
    world.start_later(slot, rng)
    return nothing_to_undo


def _point(rng: Random, ground: Ground) -> Drawn:
    step = rng.choice(STEPS if rng.random() < RARE else COMMON)
    return Drawn((rng.choice(ground.nodes),), point=f"{rng.choice(('before', 'after'))} {step}")


@kind("crash_at_point", weight=4, enabled=0.5, draw=_point)
async def crash_at_point(world: World, fault: Fault, rng: Random) -> End | None:
    """A process is killed as soon as it begins, or has just ended, a certain step.

    For a step of a start it is killed first, and dies again while it starts. It has not struck if the process does not
    come to the point within `POINT_S`.
    """
    process = await world.until_running(fault.places[0])
    if process is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    step = fault.point.partition(" ")[2]
    if step in START or (step in ARCHIVE and slot.archives):
        await world.halt(slot)
        world.cluster.launch(slot)
        assert slot.process is not None
        process = slot.process
    victim = process
    struck = trio.Event()

    def strike() -> None:
        world.note_steps(fault, victim, step)
        world.cluster.crash(slot, victim)
        struck.set()

    victim.life.at_point(fault.point, strike)
    try:
        with trio.move_on_after(POINT_S):
            await struck.wait()
    finally:
        victim.life.forget_point(fault.point)
    if not struck.is_set():
        return None
    world.start_later(slot, rng)
    return nothing_to_undo


def _await(rng: Random, ground: Ground) -> Drawn:
    # As many below ten as between a hundred and a thousand: what follows at once on something else takes few steps.
    return Drawn((rng.choice(ground.nodes),), amount=int(STEPS_MAX ** rng.random()))


@kind("crash_at_step", weight=3, enabled=0.5, draw=_await)
async def crash_at_step(world: World, fault: Fault, rng: Random) -> End | None:
    """A process is killed at the ``amount``-th step that the scheduler lets its tasks make from now on."""
    process = await world.until_running(fault.places[0])
    if process is None or process.task is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    struck = False

    def strike() -> None:
        nonlocal struck
        if process.life.alive:
            struck = True
            world.note_steps(fault, process)
            world.cluster.crash(slot, process)

    with trio.move_on_after(POINT_S):
        await at_step(process.task, int(fault.amount), strike)
    if not struck:
        return None
    world.start_later(slot, rng)
    return nothing_to_undo


@kind("stop", weight=2, enabled=0.5, draw=some_node)
async def stop(world: World, fault: Fault, rng: Random) -> End | None:
    """A process is stopped as planned: it writes what its store lacks, ends, and is started again after a while."""
    process = await world.until_running(fault.places[0])
    if process is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    world.note_steps(fault, process)
    await world.cluster.stop(slot)
    world.start_later(slot, rng)
    return nothing_to_undo


@kind("pause", weight=2, enabled=0.5, draw=node_for(0.2, 10.0))
async def pause(world: World, fault: Fault, rng: Random) -> End | None:
    """A process stands still: nothing that it asks for, or is asked for, goes on; its clock and its timers do."""
    process = await world.until_running(fault.places[0])
    if process is None or process.life.stands_still:
        return None
    world.note_steps(fault, process)
    process.life.stand_still()

    async def go_on() -> None:
        await trio.lowlevel.checkpoint()
        process.life.go_on()

    return go_on


assert set(COMMON) | START <= set(protocol_steps.STEPS), "a step is misspelt"
