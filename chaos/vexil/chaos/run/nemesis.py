"""Carries out the schedule of faults: each begins at its moment, ends after its time, and all end when they are frozen.

What is done to whom is in the plan; how it is done is the kind's. Here is only the life of a fault, and what kinds
share: a node that is down is started again, and a fault that strikes a process notes what that was doing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Final

import trio

from vexil.chaos import faults
from vexil.chaos.clients.workload import Listener
from vexil.chaos.faults.fault import AGAIN_S, FIRST_PATIENCE_S, KINDS, PATIENCE_S, End
from vexil.chaos.faults.members import EVICTS
from vexil.chaos.run.history import History, Window
from vexil.chaos.run.operators import bring_all_back
from vexil.chaos.run.plan import Fault, Plan
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Process, Slot

assert faults.__doc__, "the kinds register themselves"
DOWN_S_MAX: Final = (0.5, 1.5, 4.0)
"""A node that has died is started again after up to one of these: most are back soon, and have something to lose."""
LOOK_S: Final = 0.5
"""Between two looks for processes that have died by themselves."""


class Nemesis:
    """Breaks things until `freeze`, which repairs all of them. It is the `World` that kinds act on."""

    def __init__(self, cluster: SimulatedCluster, history: History, plan: Plan, listener: Listener) -> None:
        """Nothing is broken yet."""
        self.cluster = cluster
        self.history = history
        self.plan = plan
        self.listener = listener
        self.asked: set[tuple[str, str]] = set()
        self.frozen = False
        self._open: dict[int, tuple[Window, End]] = {}
        self._noted: dict[int, list[str]] = {}
        self._returning: set[str] = set()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Let every fault of the plan happen; until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for fault in self.plan.faults:
                nursery.start_soon(self._live, fault)
            starts: dict[str, Random] = {}
            while True:
                await trio.sleep(LOOK_S)
                for name, slot in sorted(self.cluster.slots.items()):
                    if slot.process is not None and slot.engine is None:
                        if name not in starts:
                            starts[name] = self.cluster.streams.stream("starts", name)
                        self.start_later(slot, starts[name])

    async def freeze(self) -> None:
        """No more faults: what is broken is repaired. Returns when every node is ready and a member."""
        cluster = self.cluster
        self.frozen = True
        cluster.trace.add("heal")
        self.history.tell("", "heal", "everything works again")
        cluster.network.mend_all()
        for region in cluster.regions.values():
            region.available = True
        for slot in cluster.slots.values():
            slot.disk.free()
            slot.store.available, slot.store.full = True, False
        for number in sorted(self._open, reverse=True):
            await self._end(number)
        async with trio.open_nursery() as nursery:
            for slot in cluster.slots.values():
                nursery.start_soon(self._revive, slot)
        await bring_all_back(cluster, in_all_eyes=any(f.kind in EVICTS for f in self.plan.faults))

    # -- the life of a fault

    async def _live(self, fault: Fault) -> None:
        await trio.sleep_until(self.history.began_s + fault.at_s)
        rng = self.cluster.streams.stream("fault", fault.number)
        steps = self._steps(fault)
        end = await KINDS[fault.kind].begin(self, fault, rng)
        if end is None:
            return
        window = Window(fault, trio.current_time())
        self.cluster.trace.add("fault", fault.number, fault.kind, *fault.places)
        self.history.tell(" ".join(fault.places), fault.kind, _described(fault))
        self.history.windows.append(window)
        self.history.fired[fault.kind] += 1
        for step in self._noted.pop(fault.number, steps):
            self.history.struck[fault.kind, step] += 1
        self._open[fault.number] = (window, end)
        await trio.sleep(fault.lasts_s)
        await self._end(fault.number)

    async def _end(self, number: int) -> None:
        if number not in self._open:
            return
        window, end = self._open.pop(number)
        with trio.CancelScope(shield=True):
            await end()
        window.ended_s = trio.current_time()
        if window.fault.lasts_s:
            self.history.tell(" ".join(window.fault.places), window.fault.kind, "is over")

    def _steps(self, fault: Fault) -> list[str]:
        """What the processes at the fault's places are in the midst of."""
        lives = [
            slot.process.life
            for _, slot in sorted(self.cluster.slots.items())
            if slot.process is not None and {slot.name, slot.region} & set(fault.places)
        ]
        return sorted({step for life in lives for step in life.steps_under_way()})

    async def _revive(self, slot: Slot) -> None:
        while not slot.ready:
            if slot.process is None or not slot.process.life.alive:
                await self.cluster.ended(slot)
                if slot.process is None or slot.process.ended.is_set():
                    self.cluster.launch(slot)
            assert slot.process is not None
            await slot.process.ready.wait()

    # -- what kinds use: `World`

    def note_steps(self, fault: Fault, process: Process, *more: str) -> None:
        """`World.note_steps`."""
        self._noted[fault.number] = sorted({*process.life.steps_under_way(), *more})

    async def until_running(self, fault: Fault) -> Process | None:
        """`World.until_running`."""
        name = fault.places[0]

        async def runs() -> bool:
            await trio.lowlevel.checkpoint()
            slot = self.cluster.slots.get(name)
            return slot is not None and slot.engine is not None

        found = name in self.cluster.slots and await self.patiently(fault, runs)
        return self.cluster.slots[name].process if found else None

    async def patiently(self, fault: Fault, attempt: Callable[[], Awaitable[bool]]) -> bool:
        """`World.patiently`."""
        began_s = trio.current_time()
        while not await attempt():
            patience_s = PATIENCE_S if self.history.fired[fault.kind] else FIRST_PATIENCE_S
            if trio.current_time() - began_s >= patience_s:
                return False
            await trio.sleep(AGAIN_S)
        return True

    async def halt(self, slot: Slot) -> None:
        """`World.halt`."""
        await trio.lowlevel.checkpoint()
        while slot.process is not None and not slot.process.ended.is_set():
            self.cluster.crash(slot)
            await slot.process.ended.wait()

    def soon(self, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """`World.soon`."""
        assert self._nursery is not None
        self._nursery.start_soon(task, *arguments)

    def start_later(self, slot: Slot, rng: Random) -> None:
        """`World.start_later`."""
        if slot.name not in self._returning and not self.frozen:
            self._returning.add(slot.name)
            self.soon(self._start_later, slot, rng)

    async def _start_later(self, slot: Slot, rng: Random) -> None:
        try:
            await trio.sleep(rng.uniform(0, rng.choice(DOWN_S_MAX)))
            await self.cluster.ended(slot)
        finally:
            self._returning.discard(slot.name)
        down = slot.process is None or slot.process.ended.is_set()
        if down and self.cluster.slots.get(slot.name) is slot:
            region = slot.store
            if rng.random() < 0.5:
                region.land_ghosts(rng.randint(0, region.ghosts))
            self.cluster.launch(slot)


def _described(fault: Fault) -> str:
    parts: Iterable[str] = (
        f"for {fault.lasts_s:.1f} s" if fault.lasts_s else "",
        f"{fault.amount:g}" if fault.amount else "",
        fault.point,
    )
    return ", ".join(filter(None, parts))
