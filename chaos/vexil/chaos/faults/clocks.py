"""Wall clocks that are set, and set back, and that go too fast or too slow for a while."""

from __future__ import annotations

from random import Random
from typing import Final

import trio

from vexil.chaos.faults.fault import Drawn, End, Ground, World, kind
from vexil.chaos.run.plan import Fault
from vexil.chaos.world.simulated_clock import YEAR_MS

SMALL_MS: Final = (200.0, 5_000.0)
LARGE_MS: Final = (60_000.0, 3_600_000.0)
LARGE: Final = 0.3
"""How often a step is a large one."""
A_YEAR: Final = 0.03
"""How often it is a year."""
STEP_S_MAX: Final = 10.0
DRIFT_PPM_MAX: Final = 50_000.0


def _step(rng: Random, ground: Ground) -> Drawn:
    ms = rng.uniform(*(LARGE_MS if rng.random() < LARGE else SMALL_MS))
    if rng.random() < A_YEAR:
        ms = float(YEAR_MS)
    sign = rng.choice((1, -1))
    return Drawn((rng.choice(ground.nodes),), rng.uniform(0.5, STEP_S_MAX), amount=sign * int(ms))


@kind("clock_step", weight=2, enabled=0.3, draw=_step)
async def clock_step(world: World, fault: Fault, rng: Random) -> End | None:
    """A node's clock is set ``amount`` ms ahead (back, if negative); at the end it is set right by as much."""
    await trio.lowlevel.checkpoint()
    slot = world.cluster.slots.get(fault.places[0])
    if slot is None:
        return None
    clock, ms = slot.clock, int(fault.amount)
    clock.step(ms)

    async def set_right() -> None:
        await trio.lowlevel.checkpoint()
        clock.step(-ms)

    return set_right


def _drift(rng: Random, ground: Ground) -> Drawn:
    ppm = rng.uniform(-DRIFT_PPM_MAX, DRIFT_PPM_MAX)
    return Drawn((rng.choice(ground.nodes),), rng.uniform(0.5, STEP_S_MAX), amount=ppm)


@kind("clock_drift", weight=1, enabled=0.2, draw=_drift)
async def clock_drift(world: World, fault: Fault, rng: Random) -> End | None:
    """A node's clock gains ``amount`` microseconds more in each second; what it has gained it keeps."""
    await trio.lowlevel.checkpoint()
    slot = world.cluster.slots.get(fault.places[0])
    if slot is None:
        return None
    clock = slot.clock
    clock.drift(fault.amount)

    async def go_steadily() -> None:
        await trio.lowlevel.checkpoint()
        clock.drift(-fault.amount)

    return go_steadily
