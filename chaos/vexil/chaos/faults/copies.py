"""Nodes that are there twice: somebody copies a folder or a whole machine, and both of them run.

Only nodes with a store of their own can be copied so: a region's store knows one fold a slot. The copy calls itself
like its original and is reached by nobody, since their address leads to the original; it calls whom it likes. At the
end it is stopped for good, and its disk is lost.
"""

from __future__ import annotations

from random import Random
from typing import Final

from vexil.chaos.faults.destruction import destroying
from vexil.chaos.faults.fault import Drawn, End, Ground, World, kind
from vexil.chaos.run.plan import Fault
from vexil.chaos.world.simulated_slot import Slot

COPIES: Final = range(50, 100)
"""How copies are numbered within their region."""
COPY_S: Final = (2.0, 12.0)


def _copied(rng: Random, ground: Ground) -> Drawn | None:
    if not ground.embedded:
        return None
    original = rng.choice(ground.nodes)
    name = f"{original.rpartition('-')[0]}-{rng.choice(COPIES)}"
    return Drawn((original, name), lasts_s=rng.uniform(*COPY_S))


async def _copy(world: World, fault: Fault) -> Slot | None:
    """The new place, beside a stopped original."""
    original, name = fault.places
    process = await world.until_running(fault)
    if process is None or name in world.cluster.slots or not world.cluster.embedded:
        return None
    slot = world.cluster.slots[original]
    world.note_steps(fault, process)
    await world.halt(slot)
    return None if name in world.cluster.slots else world.cluster.clone_slot(slot, name)


def _removal(world: World, copy: Slot) -> End:
    async def remove() -> None:
        await world.cluster.stop(copy)
        await world.halt(copy)
        with destroying(world, copy):
            world.cluster.remove_slot(copy)

    return remove


@kind("clone", weight=1, enabled=0.3, draw=_copied, alarms=("aside", "restored", "twin"), most=2, needs_s=3.0)
async def clone(world: World, fault: Fault, rng: Random) -> End | None:
    """A folder is copied while its node is down, and both are started."""
    copy = await _copy(world, fault)
    if copy is None:
        return None
    world.history.harm.append(fault)
    world.cluster.launch(world.cluster.slots[fault.places[0]])
    world.cluster.launch(copy)
    return _removal(world, copy)


@kind(
    "copied_machine",
    weight=1,
    enabled=0.1,
    draw=_copied,
    alarms=("aside", "restored", "twin", "fork", "copy"),
    most=1,
    needs_s=3.0,
)
async def copied_machine(world: World, fault: Fault, rng: Random) -> End | None:
    """As a clone, and both draw the same numbers: they are one incarnation, and write two histories of it."""
    copy = await _copy(world, fault)
    if copy is None:
        return None
    world.history.harm.append(fault)
    for slot in (world.cluster.slots[fault.places[0]], copy):
        world.cluster.launch(slot, entropy_of=f"one machine/{fault.number}")
    return _removal(world, copy)
