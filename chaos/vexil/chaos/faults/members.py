"""Nodes that join, members that an operator evicts and returns, logs that no longer reach back."""

from __future__ import annotations

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
    patiently,
    some_node,
)
from vexil.chaos.run.operators import bring_back
from vexil.chaos.run.operators import evict as ask_to_evict
from vexil.chaos.run.plan import Fault
from vexil.node.engine import Engine
from vexil.node.seams import SeamError

JOINERS: Final = range(10, 50)
"""How new nodes are numbered within their region."""

KEPT_MS: Final = 3_000
STABLE_S: Final = 15.0
"""How long a fault waits until there is something that everybody has promised to have, and that is old enough."""


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
    return node_for(1.0, 10.0)(rng, ground) if len(ground.nodes) > 1 else None


@kind("evict", weight=1, enabled=0.25, draw=_member, alarms=("aside",), most=3)
async def evict(world: World, fault: Fault, rng: Random) -> End | None:
    """An operator evicts a member at another one, whether or not it runs; when the time is over he returns it."""
    await trio.lowlevel.checkpoint()
    slot = world.cluster.slots.get(fault.places[0])
    if slot is None or not await patiently(partial(ask_to_evict, world.cluster, slot, rng)):
        return None

    async def come_back() -> None:
        await trio.lowlevel.checkpoint()
        if not world.frozen:
            world.soon(bring_back, world.cluster, slot)

    return come_back


@kind("log_shortened", weight=2, enabled=0.3, draw=some_node)
async def log_shortened(world: World, fault: Fault, rng: Random) -> End | None:
    """Whatever retention may take from a node's log goes, as if it kept rows for `KEPT_MS` and not for days.

    Not for less: who still tries again what he has just written finds it by its row.
    """
    (name,) = fault.places

    async def shorten() -> bool:
        await trio.lowlevel.checkpoint()
        slot = world.cluster.slots.get(name)
        return slot is not None and slot.engine is not None and slot.ready and await _shorten(slot.engine)

    return (
        nothing_to_undo
        if name in world.cluster.slots and await patiently(shorten, patience_s=STABLE_S)
        else None
    )


async def _shorten(engine: Engine) -> bool:
    retention = engine.caretaker.retention
    retention._kept_ms = KEPT_MS  # noqa: SLF001 - the setting is in days, and no run lasts for one
    before = _trimmed(engine)
    for project in list(engine.projects.values()):
        try:
            await retention.trim(project)
        except SeamError:
            break
    return _trimmed(engine) > before


def _trimmed(engine: Engine) -> int:
    return sum(told["rows_trimmed"] for told in engine.caretaker.retention.status().values())
