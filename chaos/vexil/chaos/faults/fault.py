"""What a kind of fault is: how one is drawn, how it begins, how it ends. Every kind registers itself in `KINDS`.

A fault is data (`vexil.chaos.run.plan.Fault`) and its kind is the function that makes it happen. A kind that finds
nothing to break (there is no such place, nobody runs there) says so by returning None: then the fault has not struck.
A begin may be cancelled at any await, when all faults are frozen, and leaves nothing behind then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

import trio

from vexil.chaos.clients.workload import Listener
from vexil.chaos.run.history import History
from vexil.chaos.run.plan import Fault, Plan
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Process, Slot

End = Callable[[], Awaitable[None]]
"""Undoes a fault; called once, when its time is over or when all faults end."""


class World(Protocol):
    """What a fault acts on: `vexil.chaos.run.nemesis.Nemesis`."""

    cluster: SimulatedCluster
    history: History
    plan: Plan
    listener: Listener
    """Who is told what clients were told."""
    asked: set[tuple[str, str]]
    """By slot: registrations that an operator has asked somebody to end, whatever he has heard of it."""
    frozen: bool
    """All faults end now: what an end would do in time is done for it."""

    async def until_running(self, fault: Fault) -> Process | None:
        """The live process of the fault's first place; waits for one. None if there is no such slot, or nobody came."""

    async def patiently(self, fault: Fault, attempt: Callable[[], Awaitable[bool]]) -> bool:
        """Try until ``attempt`` succeeds. Whether it did, within `PATIENCE_S`; the first of a kind has more of it."""

    async def halt(self, slot: Slot) -> None:
        """Kill whatever runs there; nothing does when this returns."""

    def start_later(self, slot: Slot, rng: Random) -> None:
        """Start a process there after a while, unless one runs then."""

    def soon(self, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run a task that ends with the faults, at the latest."""

    def note_steps(self, fault: Fault, process: Process, *more: str) -> None:
        """``fault`` strikes ``process`` now, not when it began: what that is in the midst of, and ``more``, counts."""


Begin = Callable[[World, Fault, Random], Awaitable["End | None"]]
"""Makes it happen. Returns what undoes it (`nothing_to_undo` if nothing does), or None if it found nothing to break."""
Draw = Callable[[Random, "Ground"], "Drawn | None"]
"""What, where and for how long; None where the kind can never strike."""
MOST: Final = 1_000
"""Of one kind in one run."""
PATIENCE_S: Final = 5.0
"""How long a fault waits for something that it can break, if another one of its kind has struck: a node that has died
is started again within it."""
FIRST_PATIENCE_S: Final = 60.0
"""How long it waits else. Not for ever; but a run in which an enabled kind never strikes tells nothing of that."""
AGAIN_S: Final = 0.25
"""Between two tries."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a draw may name."""

    layout: Mapping[str, int]
    nodes: Sequence[str]
    embedded: bool
    work_s: float

    @property
    def regions(self) -> Sequence[str]:
        """Their names, in the order of the layout."""
        return tuple(self.layout)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a draw decides; moment and number are given by the schedule."""

    places: tuple[str, ...] = ()
    lasts_s: float = 0.0
    amount: float = 0.0
    point: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    name: str
    weight: float
    """How often it is drawn, next to the other kinds that a seed has enabled."""
    enabled: float
    """The probability that a seed of the profile ``mixed`` has it at all."""
    draw: Draw
    begin: Begin
    alarms: frozenset[str] = field(default_factory=frozenset)
    """Alarms that it explains: see ``Watcher.alarm``. It adds itself to `History.harm` when the harm is done."""
    most: int = MOST
    """Of one run."""
    needs_s: float = 0.0
    """The first of a run begins so long before the end of the work, if that is so long: it may have to wait."""
    family: str = ""
    """The module that it is in."""


KINDS: Final[dict[str, Kind]] = {}


def kind(
    name: str,
    *,
    weight: float,
    enabled: float,
    draw: Draw,
    alarms: Sequence[str] = (),
    most: int = MOST,
    needs_s: float = 0.0,
) -> Callable[[Begin], Begin]:
    """Register a function as what a fault of the kind ``name`` does."""

    def register(begin: Begin) -> Begin:
        assert name not in KINDS, f"two kinds are called {name}"
        family = begin.__module__.rpartition(".")[2]
        KINDS[name] = Kind(name, weight, enabled, draw, begin, frozenset(alarms), most, needs_s, family)
        return begin

    return register


def some_node(rng: Random, ground: Ground) -> Drawn:
    """For kinds that strike a node and are over at once."""
    return Drawn((rng.choice(ground.nodes),))


def node_for(shortest_s: float, longest_s: float) -> Draw:
    """For kinds that strike a node for a while."""

    def draw(rng: Random, ground: Ground) -> Drawn:
        return Drawn((rng.choice(ground.nodes),), lasts_s=rng.uniform(shortest_s, longest_s))

    return draw


def slots_from(world: World, fault: Fault) -> list[Slot]:
    """For kinds that strike where they can: the slot of the fault's place, then the others by name. None without it."""
    first = fault.places[0]
    # Copies of nodes are left out: nobody reaches them.
    found = [slot for slot in world.cluster.slots.values() if slot.member == slot.name]
    found.sort(key=lambda slot: (slot.name != first, slot.name))
    return found if first in world.cluster.slots else []


async def nothing_to_undo() -> None:
    """For faults that are over at once."""
    await trio.lowlevel.checkpoint()
