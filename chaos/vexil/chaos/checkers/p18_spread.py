"""P18: clients that lose their node in the same moment do not come back in the same moment.

This one is ours: the design has it in words only ("jitter everywhere"). Each of the clients waits for a time of its
own, drawn evenly from ``(0, base)``, but the floor at the least. So in any `WINDOW_S` each of them tries first with a
probability of at most ``(WINDOW_S + floor) / base``, whatever the others do: how many do is binomial. The bound is
the number that is passed in some window with a probability below `CHANCE`, so that no sound run is ever taken for a
storm. Of 24 clients it is 16, of 10 it is 9; of fewer nothing can be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import comb
from random import Random
from typing import Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.clients.services import OPTIONS
from vexil.chaos.world.simulated_cluster import SimulatedCluster

WINDOW_S: Final = 0.1
SHARE: Final = (WINDOW_S + OPTIONS.back_off_floor_s) / OPTIONS.back_off_base_s
CHANCE: Final = 1e-7


@cache
def most(clients: int) -> int:
    """How many of so many may come back within `WINDOW_S`."""
    return next(
        bound
        for bound in range(clients + 1)
        if clients
        * sum(
            comb(clients, n) * SHARE**n * (1 - SHARE) ** (clients - n) for n in range(bound + 1, clients + 1)
        )
        < CHANCE
    )


@dataclass(slots=True)
class _Parting:
    slot: str
    at_s: float
    clients: int
    waiting: set[str]
    back_s: list[float] = field(default_factory=list)


class Spread(Checker):
    """Notes when each client that has lost its node first asks for one again."""

    invariant = "P18"
    claim = (
        f"of clients that lose their node together, only as many as chance allows come back in {WINDOW_S} s"
    )

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nobody has lost a node."""
        super().__init__(scene, rng)
        self._partings: list[_Parting] = []

    def parted(self, services: Sequence[str], slot: str) -> None:
        """`Checker.parted`."""
        if most(len(services)) < len(services):
            self._partings.append(_Parting(slot, self.history.now_s(), len(services), set(services)))

    def asked(self, service: str, slot: str) -> None:
        """`Checker.asked`."""
        now_s = self.history.now_s()
        for parting in self._partings:
            if service in parting.waiting:
                parting.waiting.remove(service)
                parting.back_s.append(now_s)
                self._judge(parting)
        self._partings = [parting for parting in self._partings if parting.waiting]

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        self._partings.clear()

    def _judge(self, parting: _Parting) -> None:
        clients = parting.clients
        self.judged += 1
        while parting.back_s[0] < self.history.now_s() - WINDOW_S:
            parting.back_s.pop(0)
        at_once = len(parting.back_s)
        if at_once > most(clients):
            self.violate(
                f"{at_once} of {clients} clients that {parting.slot} has left at {parting.at_s:.3f} s come back "
                f"within {WINDOW_S} s: {most(clients)} may"
            )
