"""Nodes that join, members that an operator evicts and returns, logs that no longer reach back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

import trio

from vexil.chaos.faults.fault import (
    Drawn,
    End,
    Ground,
    World,
    kind,
    node_for,
    nothing_to_undo,
    slots_from,
    some_node,
)
from vexil.chaos.faults.links import cutting
from vexil.chaos.faults.processes import crash_at_point
from vexil.chaos.run.operators import bring_back
from vexil.chaos.run.operators import evict as ask_to_evict
from vexil.chaos.run.plan import Fault
from vexil.chaos.world.protocol_steps import ARCHIVE
from vexil.chaos.world.simulated_clock import EPOCH_MS
from vexil.chaos.world.simulated_slot import Slot
from vexil.node.engine import Engine
from vexil.node.seams import SeamError

EVICTS: Final = frozenset(("evict", "evict_unreachable"))
"""Kinds of faults by which members are evicted."""
JOINERS: Final = range(10, 50)
"""How new nodes are numbered within their region."""
DIES_RETURNING: Final = 0.5
"""How often a process dies over what it has laid aside, when it comes back."""
RETURNS_S: Final = 20.0
"""For so long it is waited for that."""
LOOK_S: Final = 0.02
"""Between two looks at whether it has something there: it does not have it for long."""
KEPT_MS: Final = 3_000


def _newcomer(rng: Random, ground: Ground) -> Drawn:
    return Drawn((f"{rng.choice(ground.regions)}-{rng.choice(JOINERS)}",))


@kind("join", weight=1, enabled=0.25, draw=_newcomer, most=2)
async def join(world: World, fault: Fault, rng: Random) -> End | None:
    """A node that was not there before starts on an empty disk, and stays."""
    await trio.lowlevel.checkpoint()
    (name,) = fault.places
    region = name.rpartition("-")[0]
    if name in world.cluster.slots or region not in world.cluster.regions:
        return None
    world.cluster.launch(world.cluster.add_slot(name, region))
    return nothing_to_undo


def _member(rng: Random, ground: Ground) -> Drawn | None:
    return node_for(0.5, 6.0)(rng, ground) if len(ground.nodes) > 1 else None


@kind("evict", weight=1, enabled=0.25, draw=_member, alarms=("aside",), most=3, needs_s=10.0)
async def evict(world: World, fault: Fault, rng: Random) -> End | None:
    """An operator evicts a member at another one, whether or not it runs; when the time is over he returns it."""
    await trio.lowlevel.checkpoint()
    return await _evict(world, fault, rng)


@kind("evict_unreachable", weight=1, enabled=0.2, draw=_member, alarms=("aside",), most=2, needs_s=10.0)
async def evict_unreachable(world: World, fault: Fault, rng: Random) -> End | None:
    """A member that nobody reaches is evicted: it runs, takes writes, and does not know.

    For the second half of the time the others hear it again, while it still hears nothing of them.
    """
    await trio.lowlevel.checkpoint()
    (node,) = fault.places
    deaf = cutting(world, [(region, node) for region in world.cluster.regions])
    mute = cutting(world, [(node, region) for region in world.cluster.regions])
    came_back = await _evict(world, fault, rng)
    if came_back is None:
        await mute()
        await deaf()
        return None

    async def speak() -> None:
        await trio.sleep(fault.lasts_s / 2)
        await mute()

    async def end() -> None:
        await deaf()
        await came_back()

    world.soon(speak)
    return end


async def _evict(world: World, fault: Fault, rng: Random) -> End | None:
    """Have the place of ``fault`` evicted; who calls what this returns has it come back."""
    slot = world.cluster.slots.get(fault.places[0])

    if slot is None or not await world.patiently(fault, partial(_ask, world, fault, slot, rng)):
        return None

    _note_end(world, slot.member)
    step = rng.choice(ARCHIVE) if rng.random() < DIES_RETURNING else ""
    dies = replace(fault, point=f"{rng.choice(('before', 'after'))} {step}")

    async def come_back() -> None:
        await trio.lowlevel.checkpoint()
        if not world.frozen:
            world.soon(bring_back, world.cluster, slot)
            if step:
                world.soon(die)

    async def die() -> None:
        with trio.move_on_after(RETURNS_S):
            while not slot.archives:  # noqa: ASYNC110 - it looks at a node from outside
                await trio.sleep(LOOK_S)
            if await crash_at_point(world, dies, rng) is not None:
                world.history.struck[fault.kind, step] += 1

    return come_back


async def _ask(world: World, fault: Fault, slot: Slot, rng: Random) -> bool:
    """Ask for it, unless somebody else has been evicted, or may have been, and is not back.

    The operator knows of that though no node may that runs now.
    """
    last = {life.slot: life.registration for life in world.history.lives if life.ready_s is not None}
    over = world.history.ended.keys() | world.asked
    if any((name, last.get(name, "")) in over for name in world.cluster.slots if name != slot.name):
        await trio.lowlevel.checkpoint()
        return False

    def asks() -> None:
        world.history.harm.append(fault)
        world.asked.add((slot.name, last.get(slot.name, "")))

    return await ask_to_evict(world.cluster, slot, rng, asks=asks)


def _note_end(world: World, name: str) -> None:
    """Note which registrations of a member are over, by what anybody knows; its copies run under them, too."""
    cluster, history = world.cluster, world.history
    places = [slot.name for slot in cluster.slots.values() if slot.member == name]
    known = [slot.engine.directory.members.get(name) for slot in cluster.slots.values() if slot.engine]
    for registration in {each for member in known if member is not None for each in member.evicted}:
        for place in places:
            history.ended.setdefault((place, registration), history.now_s())


@kind("log_shortened", weight=2, enabled=0.3, draw=some_node, needs_s=60.0)
async def log_shortened(world: World, fault: Fault, rng: Random) -> End | None:
    """Whatever retention may take from a node's log goes, as if it kept rows for `KEPT_MS` and not for days.

    Not for less: who still tries again what he has just written finds it by its row. If the node keeps
    all, as one does that was cut off since its start and knows no promise, it is the log of another one.
    """

    async def shorten() -> bool:
        await trio.lowlevel.checkpoint()
        for slot in slots_from(world, fault):
            engine = slot.engine
            if engine is not None and slot.ready and await _shorten(slot, engine):
                world.history.tell(slot.name, fault.kind, "has lost rows")
                return True
        return False

    return nothing_to_undo if slots_from(world, fault) and await world.patiently(fault, shorten) else None


async def _shorten(slot: Slot, engine: Engine) -> bool:
    retention = engine.caretaker.retention
    true_ms = EPOCH_MS + int(trio.current_time() * 1000)
    # By a clock that is behind nothing would ever be old here, which days are long enough for.
    behind_ms = max(0, true_ms - slot.clock.wall_ms())
    retention._kept_ms = KEPT_MS - behind_ms  # noqa: SLF001 - the setting is in days, and no run lasts for one
    before = _trimmed(engine)
    for project in list(engine.projects.values()):
        try:
            await retention.trim(project)
        except SeamError:
            break
    return _trimmed(engine) > before


def _trimmed(engine: Engine) -> int:
    return sum(told["rows_trimmed"] for told in engine.caretaker.retention.status().values())
