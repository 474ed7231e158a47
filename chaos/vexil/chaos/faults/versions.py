"""Nodes of another version among these: a rolling upgrade, and the way back from it."""

from __future__ import annotations

from random import Random

from vexil.chaos.faults.fault import End, World, kind, node_for
from vexil.chaos.run.plan import Fault
from vexil.chaos.world.simulated_slot import Slot


@kind("restart_as_next", weight=2, enabled=0.3, draw=node_for(2.0, 15.0), needs_s=5.0)
async def restart_as_next(world: World, fault: Fault, rng: Random) -> End | None:
    """A node is stopped as planned and started as one of the next version; at the end it is set back in the same way.

    Whatever else restarts it meanwhile starts the next version, see `vexil.chaos.world.next_version`.
    """
    process = await world.until_running(fault)
    if process is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    if slot.next_version:
        return None
    world.note_steps(fault, process)
    try:
        await world.cluster.stop(slot)
        slot.next_version = True
    finally:
        world.start_later(slot, rng)

    async def restart_as_before() -> None:
        await _restart(world, slot)

    return restart_as_before


async def _restart(world: World, slot: Slot) -> None:
    slot.next_version = False
    await world.cluster.stop(slot)
    await world.halt(slot)
    if slot.name in world.cluster.slots:
        world.cluster.launch(slot)
