"""Disks that take nothing more, that are lost, or that somebody puts back as they were some time ago."""

from __future__ import annotations

from random import Random

import trio

from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.faults.destruction import destroying
from vexil.chaos.faults.fault import End, World, kind, node_for, nothing_to_undo, some_node
from vexil.chaos.run.operators import is_over
from vexil.chaos.run.plan import Fault
from vexil.chaos.world.simulated_slot import Slot
from vexil.node.enrolment import MEMBER


@kind("disk_full", weight=2, enabled=0.3, draw=node_for(0.5, 8.0))
async def disk_full(world: World, fault: Fault, rng: Random) -> End | None:
    """A node's disk takes no more, and its own store, if it has one, neither."""
    await trio.lowlevel.checkpoint()
    slot = world.cluster.slots.get(fault.places[0])
    if slot is None or slot.disk.full:
        return None
    disk, store = slot.disk, slot.store
    disk.fill()
    store.full = world.cluster.embedded

    async def free() -> None:
        await trio.lowlevel.checkpoint()
        disk.free()
        slot.disk.free()
        store.full = slot.store.full = False

    return free


def _registration(slot: Slot) -> str:
    row = slot.store.member(slot.member)
    return "" if row is None else row.registration


def _somebody_else_has_it(world: World, slot: Slot) -> bool:
    """Whether the cluster goes on without this disk: some other node serves the project, is a member, and no copy."""
    return any(
        other is not slot
        and other.member == other.name
        and other.engine is not None
        and PROJECT in other.engine.projects
        and other.engine.enrolment.standing == MEMBER
        and not is_over(world.cluster, other)
        for other in world.cluster.live()
    )


@kind("disk_lost", weight=1, enabled=0.25, draw=some_node, alarms=("aside",), most=4, needs_s=6.0)
async def disk_lost(world: World, fault: Fault, rng: Random) -> End | None:
    """A node is killed, if it runs, and its disk is lost, with its own store, if it has one; it starts on an empty one.

    Not the last disk with the state on it: nothing would be left to judge.
    """
    slot = world.cluster.slots.get(fault.places[0])
    if slot is None:
        return None

    async def lose() -> bool:
        await trio.lowlevel.checkpoint()
        if not _somebody_else_has_it(world, slot):
            return False
        if slot.process is not None:
            world.note_steps(fault, slot.process)
        await world.halt(slot)
        lost = _somebody_else_has_it(world, slot)
        if lost:
            with destroying(world, slot):
                world.cluster.lose_disk(slot)
            world.history.harm.append(fault)
        world.start_later(slot, rng)
        return lost

    return nothing_to_undo if await world.patiently(fault, lose) else None


@kind(
    "disk_old_copy",
    weight=1,
    enabled=0.25,
    draw=node_for(1.0, 8.0),
    alarms=("aside", "restored", "fork"),
    most=4,
    needs_s=3.0,
)
async def disk_old_copy(world: World, fault: Fault, rng: Random) -> End | None:
    """A node's disk, with its own store, is copied; when the time is over it is killed and put back on the copy.

    On the copy it may take again what has ended since, such as writes of an evicted member: who knows of the end calls
    that a fork.
    """
    process = await world.until_running(fault)
    if process is None:
        return None
    slot = world.cluster.slots[fault.places[0]]
    kept = world.cluster.copy_of(slot, name=f"{slot.name}/kept/{fault.number}")
    whose = _registration(slot)

    async def put_back() -> None:
        await trio.lowlevel.checkpoint()
        # A folder of an earlier registration beside a region's row of the present one is of no node that ever was.
        same = world.cluster.embedded or _registration(slot) == whose
        if same and slot.name in world.cluster.slots:
            await world.halt(slot)
            with destroying(world, slot):
                world.cluster.put_copy(slot, kept)
            world.history.harm.append(fault)
            world.cluster.launch(slot)

    return put_back
