"""Stores that are away or slow; what goes wrong with single calls is in the plan's world (`StoreFaults`)."""

from __future__ import annotations

from random import Random
from typing import Final

import trio

from vexil.chaos.faults.fault import Drawn, End, Ground, World, kind
from vexil.chaos.run.plan import Fault
from vexil.chaos.world.simulated_store import SimulatedRegion

GONE_S_MAX: Final = 10.0
BURDEN_MS: Final = (200.0, 3_000.0)


def _store(rng: Random, ground: Ground) -> Drawn:
    places = ground.nodes if ground.embedded else ground.regions
    return Drawn((rng.choice(places),), lasts_s=rng.uniform(0.5, GONE_S_MAX))


def _found(world: World, fault: Fault) -> SimulatedRegion | None:
    """A region's, or of an embedded one the node's own."""
    (place,) = fault.places
    if not world.cluster.embedded:
        return world.cluster.regions.get(place)
    slot = world.cluster.slots.get(place)
    return None if slot is None else slot.store


@kind("store_gone", weight=2, enabled=0.4, draw=_store)
async def store_gone(world: World, fault: Fault, rng: Random) -> End | None:
    """Every call of a store raises StoreUnavailable and does nothing."""
    await trio.lowlevel.checkpoint()
    store = _found(world, fault)
    if store is None or not store.available:
        return None
    store.available = False

    async def back() -> None:
        await trio.lowlevel.checkpoint()
        store.available = True

    return back


def _burdened(rng: Random, ground: Ground) -> Drawn:
    drawn = _store(rng, ground)
    return Drawn(drawn.places, drawn.lasts_s, amount=rng.uniform(*BURDEN_MS))


@kind("store_slow", weight=1, enabled=0.3, draw=_burdened)
async def store_slow(world: World, fault: Fault, rng: Random) -> End | None:
    """Every call of a store takes up to ``amount`` ms longer."""
    await trio.lowlevel.checkpoint()
    store = _found(world, fault)
    if store is None or store.burden_ms:
        return None
    store.burden_ms = fault.amount

    async def go_fast() -> None:
        await trio.lowlevel.checkpoint()
        store.burden_ms = 0.0

    return go_fast
