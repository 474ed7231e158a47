"""Links that carry nothing, in both directions or in one, again and again, or carry it late or a little at a time.

A place is a node or a region. Half of the pairs are of regions, where there are two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

import trio

from vexil.chaos.faults.fault import Drawn, End, Ground, World, kind, node_for
from vexil.chaos.run.plan import Fault

CUT_S_MAX: Final = 8.0
LONG_CUT: Final = 0.3
"""How often a region is away for most of the run."""
LONG_CUT_SHARES: Final = (0.5, 0.9)
FLAP_MS: Final = (50.0, 500.0)
"""Between two changes of a flapping link."""
ADDED_MS: Final = (500.0, 6_000.0)
BYTES_PER_S: Final = (500.0, 3_000.0, 20_000.0)


def _two(rng: Random, ground: Ground) -> Drawn | None:
    places = ground.regions if len(ground.regions) > 1 and rng.random() < 0.5 else ground.nodes
    if len(places) < 2:
        return None
    return Drawn(tuple(rng.sample(places, 2)), lasts_s=rng.uniform(0.2, CUT_S_MAX))


def _there(world: World, fault: Fault) -> bool:
    return all(place in world.cluster.slots or place in world.cluster.regions for place in fault.places)


def cutting(world: World, pairs: Iterable[tuple[str, str]]) -> End:
    """Drop whatever goes from the first place of a pair to the second; who calls what this returns mends it."""
    network, cuts = world.cluster.network, list(pairs)
    for source, target in cuts:
        network.cut(source, target)

    async def mend() -> None:
        await trio.lowlevel.checkpoint()
        for source, target in cuts:
            network.mend(source, target)

    return mend


def _once(undo: Callable[[], object]) -> End:
    async def end() -> None:
        await trio.lowlevel.checkpoint()
        undo()

    return end


@kind("cut", weight=3, enabled=0.6, draw=_two)
async def cut(world: World, fault: Fault, rng: Random) -> End | None:
    """Two places hear nothing of each other."""
    await trio.lowlevel.checkpoint()
    if not _there(world, fault):
        return None
    a, b = fault.places
    return cutting(world, [(a, b), (b, a)])


@kind("cut_one_way", weight=2, enabled=0.6, draw=_two)
async def cut_one_way(world: World, fault: Fault, rng: Random) -> End | None:
    """The second place hears nothing of the first, and is heard by it."""
    await trio.lowlevel.checkpoint()
    if not _there(world, fault):
        return None
    a, b = fault.places
    return cutting(world, [(a, b)])


def _region(rng: Random, ground: Ground) -> Drawn | None:
    if len(ground.regions) < 2:
        return None
    lasts_s = rng.uniform(0.2, CUT_S_MAX)
    if rng.random() < LONG_CUT:
        lasts_s = ground.work_s * rng.uniform(*LONG_CUT_SHARES)
    return Drawn((rng.choice(ground.regions),), lasts_s=lasts_s)


@kind("cut_region", weight=1, enabled=0.4, draw=_region)
async def cut_region(world: World, fault: Fault, rng: Random) -> End | None:
    """A region and all the others hear nothing of each other."""
    await trio.lowlevel.checkpoint()
    if not _there(world, fault):
        return None
    (region,) = fault.places
    others = [other for other in world.cluster.regions if other != region]
    return cutting(world, [pair for other in others for pair in ((region, other), (other, region))])


def _lonely(rng: Random, ground: Ground) -> Drawn | None:
    return node_for(0.2, CUT_S_MAX)(rng, ground) if len(ground.nodes) > 1 else None


@kind("isolate_node", weight=1, enabled=0.4, draw=_lonely)
async def isolate_node(world: World, fault: Fault, rng: Random) -> End | None:
    """A node hears nothing of anybody, its own region included, and is heard by nobody."""
    await trio.lowlevel.checkpoint()
    if not _there(world, fault):
        return None
    (node,) = fault.places
    return cutting(
        world, [pair for region in world.cluster.regions for pair in ((node, region), (region, node))]
    )


@kind("flap", weight=1, enabled=0.4, draw=_two)
async def flap(world: World, fault: Fault, rng: Random) -> End | None:
    """Two places hear each other, and do not, every 50 to 500 ms."""
    await trio.lowlevel.checkpoint()
    if not _there(world, fault):
        return None
    a, b = fault.places
    cuts = _Flapping(world, [(a, b), (b, a)])
    world.soon(cuts.run, rng)
    return cuts.end


class _Flapping:
    def __init__(self, world: World, pairs: list[tuple[str, str]]) -> None:
        self._world = world
        self._pairs = pairs
        self._scope = trio.CancelScope()
        self._mend: End | None = None

    async def run(self, rng: Random) -> None:
        with self._scope:
            while True:
                self._mend = cutting(self._world, self._pairs)
                await trio.sleep(rng.uniform(*FLAP_MS) / 1000)
                await self._whole()
                await trio.sleep(rng.uniform(*FLAP_MS) / 1000)

    async def end(self) -> None:
        self._scope.cancel()
        await self._whole()

    async def _whole(self) -> None:
        mend, self._mend = self._mend, None
        if mend is not None:
            with trio.CancelScope(shield=True):
                await mend()


@kind("refuse_one_way", weight=1, enabled=0.3, draw=_two)
async def refuse_one_way(world: World, fault: Fault, rng: Random) -> End | None:
    """The first place can open no connection to the second, which can open one to it."""
    await trio.lowlevel.checkpoint()
    if not _there(world, fault):
        return None
    a, b = fault.places
    world.cluster.network.refuse(a, b)
    return _once(lambda: world.cluster.network.admit(a, b))


def _late(rng: Random, ground: Ground) -> Drawn | None:
    pair = _two(rng, ground)
    return pair and Drawn(pair.places, pair.lasts_s, amount=rng.uniform(*ADDED_MS))


@kind("slow_link", weight=1, enabled=0.4, draw=_late)
async def slow_link(world: World, fault: Fault, rng: Random) -> End | None:
    """Whatever the first place sends to the second takes up to ``amount`` ms longer, each message for itself."""
    await trio.lowlevel.checkpoint()
    if not _there(world, fault):
        return None
    return _once(world.cluster.network.burden(*fault.places, added_ms=fault.amount))


def _narrow(rng: Random, ground: Ground) -> Drawn | None:
    pair = _two(rng, ground)
    return pair and Drawn(pair.places, pair.lasts_s, amount=rng.choice(BYTES_PER_S))


@kind("narrow_link", weight=1, enabled=0.3, draw=_narrow)
async def narrow_link(world: World, fault: Fault, rng: Random) -> End | None:
    """From the first place to the second go ``amount`` bytes a second."""
    await trio.lowlevel.checkpoint()
    if not _there(world, fault):
        return None
    return _once(world.cluster.network.burden(*fault.places, bytes_per_s=fault.amount))
