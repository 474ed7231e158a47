"""Herds: many clients that want something of one node at one moment."""

from __future__ import annotations

from random import Random
from typing import Final

from vexil.chaos.clients import workload
from vexil.chaos.faults.fault import Drawn, End, Ground, World, kind, nothing_to_undo
from vexil.chaos.run.plan import Fault

HEADS: Final = (10, 30, 100)


def _many(rng: Random, ground: Ground) -> Drawn:
    return Drawn((rng.choice(ground.nodes),), amount=rng.choice(HEADS))


@kind("herd", weight=1, enabled=0.2, draw=_many, most=3, needs_s=3.0)
async def herd(world: World, fault: Fault, rng: Random) -> End | None:
    """``amount`` requests reach a node at once, reads and writes."""
    process = await world.until_running(fault)
    if process is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    world.note_steps(fault, process)
    world.soon(workload.herd, world.cluster, world.history, world.listener, slot, rng, int(fault.amount))
    return nothing_to_undo
