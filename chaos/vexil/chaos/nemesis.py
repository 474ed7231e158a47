"""What goes wrong while the cluster works: cuts, crashes, restarts, clock steps, store outages, full disks.

One task, one random stream. What it may do at all is drawn once per seed (swarm testing: a run that has every fault
finds less than many runs that each lack some).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import trio

from vexil.chaos.simulated_cluster import SimulatedCluster, Slot

STEP_MS: Final = (-3_600_000, -5_000, -200, 200, 5_000, 3_600_000)


@dataclass(frozen=True, slots=True)
class NemesisSettings:
    """Which faults there are, as weights (0: never), and how often one comes."""

    pause_ms_max: float = 1_500.0
    """Between two faults: from nothing up to this, evenly."""
    cut_region: int = 2
    """A region hears nothing of another one; half of the time it is not heard either."""
    cut_node: int = 2
    """The same between two nodes."""
    mend: int = 3
    """All cuts end."""
    crash: int = 2
    """A process is killed; it is started again after up to ``down_ms_max``."""
    stop: int = 1
    """A process is stopped as planned, and started again at once."""
    store_outage: int = 1
    """A region's store does not answer for up to ``down_ms_max``."""
    disk_full: int = 1
    """A node's journal takes nothing for up to ``down_ms_max``."""
    clock_step: int = 1
    """A wall clock is set, forward or back."""
    down_ms_max: float = 4_000.0
    down_at_once_max: int = 2
    isolated: str | None = None
    """A region that is cut off from all others the whole time."""


class Nemesis:
    """Works until it is cancelled; `heal` undoes everything."""

    def __init__(self, cluster: SimulatedCluster, rng: Random, settings: NemesisSettings) -> None:
        """Nothing is broken yet."""
        self._cluster = cluster
        self._rng = rng
        self._settings = settings
        self._returning: set[str] = set()
        self._actions: list[tuple[int, Callable[[trio.Nursery], Awaitable[None]]]] = [
            (settings.cut_region, self._cut_region),
            (settings.cut_node, self._cut_node),
            (settings.mend, self._mend),
            (settings.crash, self._crash),
            (settings.stop, self._stop),
            (settings.store_outage, self._store_outage),
            (settings.disk_full, self._disk_full),
            (settings.clock_step, self._clock_step),
        ]

    async def run(self) -> None:
        """Do harm, again and again."""
        self._isolate()
        weights = [weight for weight, _ in self._actions]
        if not any(weights):
            return
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(self._rng.uniform(0, self._settings.pause_ms_max) / 1000)
                for _, slot in sorted(self._cluster.slots.items()):
                    if slot.process is not None and slot.engine is None:
                        nursery.start_soon(self._start_later, slot)  # it has died by itself
                _, action = self._rng.choices(self._actions, weights)[0]
                await action(nursery)

    def _isolate(self) -> None:
        isolated = self._settings.isolated
        if isolated is not None:
            for region in sorted(self._cluster.regions):
                if region != isolated:
                    self._cluster.network.cut(region, isolated)
                    self._cluster.network.cut(isolated, region)

    async def heal(self) -> None:
        """Everything works again, and every slot runs; returns when all are ready."""
        cluster = self._cluster
        cluster.trace.add("heal")
        cluster.network.mend_all()
        for region in cluster.regions.values():
            region.available = True
        async with trio.open_nursery() as nursery:
            for slot in cluster.slots.values():
                slot.disk.free()
                nursery.start_soon(self._revive, slot)

    async def _revive(self, slot: Slot) -> None:
        while not slot.ready:
            if slot.process is None or not slot.process.life.alive:
                await self._cluster.ended(slot)
                self._cluster.launch(slot)
            assert slot.process is not None
            await slot.process.ready.wait()

    # -- faults

    def _say(self, *facts: object) -> None:
        self._cluster.trace.add("fault", *facts)

    def _cut(self, a: str, b: str) -> None:
        self._say("cut", a, b)
        self._cluster.network.cut(a, b)
        if self._rng.random() < 0.5:
            self._cluster.network.cut(b, a)

    async def _cut_region(self, nursery: trio.Nursery) -> None:
        if len(self._cluster.regions) > 1:
            self._cut(*self._rng.sample(sorted(self._cluster.regions), 2))

    async def _cut_node(self, nursery: trio.Nursery) -> None:
        if len(self._cluster.slots) > 1:
            self._cut(*self._rng.sample(sorted(self._cluster.slots), 2))

    async def _mend(self, nursery: trio.Nursery) -> None:
        self._say("mend")
        self._cluster.network.mend_all()
        self._isolate()

    async def _crash(self, nursery: trio.Nursery) -> None:
        down = sum(slot.engine is None for slot in self._cluster.slots.values())
        live = [slot for _, slot in sorted(self._cluster.slots.items()) if slot.engine is not None]
        if down < self._settings.down_at_once_max and live:
            slot = self._rng.choice(live)
            self._cluster.crash(slot)
            nursery.start_soon(self._start_later, slot)

    async def _start_later(self, slot: Slot) -> None:
        if slot.name in self._returning:
            return
        self._returning.add(slot.name)
        await trio.sleep(self._rng.uniform(0, self._settings.down_ms_max) / 1000)
        self._returning.discard(slot.name)
        await self._cluster.ended(slot)
        if slot.engine is None:
            self._land_ghosts(slot)
            self._cluster.launch(slot)

    def _land_ghosts(self, slot: Slot) -> None:
        if self._rng.random() < 0.5:
            region = self._cluster.regions[slot.region]
            region.land_ghosts(self._rng.randint(0, region.ghosts))

    async def _stop(self, nursery: trio.Nursery) -> None:
        live = self._cluster.live()
        if live:
            nursery.start_soon(self._stop_and_start, self._rng.choice(live))

    async def _stop_and_start(self, slot: Slot) -> None:
        process = slot.process
        await self._cluster.stop(slot)
        if slot.process is process:
            self._cluster.launch(slot)

    async def _store_outage(self, nursery: trio.Nursery) -> None:
        region = self._rng.choice(sorted(self._cluster.regions))
        self._say("store", region)
        self._cluster.regions[region].available = False
        nursery.start_soon(self._store_back, region)

    async def _store_back(self, region: str) -> None:
        await trio.sleep(self._rng.uniform(0, self._settings.down_ms_max) / 1000)
        self._cluster.regions[region].available = True

    async def _disk_full(self, nursery: trio.Nursery) -> None:
        slot = self._cluster.slots[self._rng.choice(sorted(self._cluster.slots))]
        self._say("full", slot.name)
        slot.disk.fill()
        nursery.start_soon(self._disk_free, slot)

    async def _disk_free(self, slot: Slot) -> None:
        await trio.sleep(self._rng.uniform(0, self._settings.down_ms_max) / 1000)
        slot.disk.free()

    async def _clock_step(self, nursery: trio.Nursery) -> None:
        slot = self._cluster.slots[self._rng.choice(sorted(self._cluster.slots))]
        ms = self._rng.choice(STEP_MS)
        self._say("clock", slot.name, ms)
        slot.clock.step(ms)
