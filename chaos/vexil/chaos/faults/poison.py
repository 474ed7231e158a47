"""Objects that nobody can read: changes of a node that has gone mad, or of a version that this one cannot read."""

from __future__ import annotations

from random import Random
from typing import Final

import trio

from vexil.chaos.clients.operations import CONTESTED, PROJECT
from vexil.chaos.faults.fault import End, World, kind, nothing_to_undo, slots_from, some_node
from vexil.chaos.run.plan import Fault
from vexil.chaos.world.junk import undecodable_change, unreadable_change
from vexil.chaos.world.simulated_slot import Process, Slot
from vexil.node.gossip import messages
from vexil.node.gossip.service import PUSH
from vexil.node.seams import PeerIdentity, PeerRefused, SeamError

TAKEN_S: Final = 2.0
"""How long a node may take over it, before it is sent to another one."""


@kind("poison", weight=2, enabled=0.7, draw=some_node, alarms=("aside",), needs_s=10.0)
async def poison(world: World, fault: Fault, rng: Random) -> End | None:
    """In another member's name a node is sent bytes that are no change, and a change whose values cannot be read.

    If it does not take them, another one is sent them.
    """

    async def send() -> bool:
        await trio.lowlevel.checkpoint()
        for slot in slots_from(world, fault):
            process = slot.process if slot.ready else None
            if process is not None and await _send(world, fault, slot, process, rng):
                world.history.tell(slot.name, fault.kind, "has taken it")
                return True
        return False

    return nothing_to_undo if slots_from(world, fault) and await world.patiently(fault, send) else None


async def _send(world: World, fault: Fault, slot: Slot, process: Process, rng: Random) -> bool:
    """Whether the node has taken both."""
    engine = process.engine
    others = [other for other in world.cluster.slots.values() if other.member != slot.member]
    project = engine.projects.get(PROJECT)
    if not others or project is None or not engine.ready:
        return False
    other = rng.choice(others)
    member = engine.directory.members.get(other.member)
    body = messages.encode(
        {
            "changes": {
                PROJECT: [
                    undecodable_change(rng),
                    unreadable_change(project.replica, rng.choice(CONTESTED), rng).raw,
                ]
            },
            "as": "" if member is None else member.registration,
        }
    )
    assert process.nursery is not None
    taken = trio.Event()

    async def send() -> None:
        try:
            await engine.peer_service.serve(PeerIdentity(other.member, other.region), PUSH, body)
        except (PeerRefused, SeamError):
            return
        taken.set()

    world.history.harm.append(fault)
    # In the process itself: it may die in the midst of it.
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await process.ended.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        process.nursery.start_soon(send)
        with trio.move_on_after(TAKEN_S):
            await taken.wait()
        nursery.cancel_scope.cancel()
    return taken.is_set()
