"""P17: a client that may be behind says so: whoever is cut off is stale, and whoever is not gets well again.

This one is ours: the design has it in words only ("stale is never reported as healthy").
"""

from __future__ import annotations

from typing import Final

from vexil.chaos.checkers.checker import Checker
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.clients.services import SILENT_S
from vexil.chaos.run.history import Standing
from vexil.chaos.world.convergence import within_reach
from vexil.chaos.world.simulated_cluster import SimulatedCluster

TOLERANCE_S: Final = 1e-6


class HonestAboutAge(Checker):
    """Compares what a client says of itself with when bytes of a node came to it last."""

    invariant = "P17"
    claim = f"a client that has heard nothing for {SILENT_S} s says that it is stale, and since when; healed, it is not"

    def silent(self, standing: Standing) -> None:
        """`Checker.silent`."""
        self._judge(standing)

    def followed(self, standing: Standing) -> None:
        """`Checker.followed`."""
        since_s = standing.stale_since_s
        if standing.ready and since_s is not None and not standing.stale_regions:
            self.judged += 1
            if since_s > standing.heard_s + TOLERANCE_S:
                self.violate(
                    f"{standing.service.name} says that it is stale since {since_s:.3f} s; it has heard nothing "
                    f"since {standing.heard_s:.3f} s"
                )

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """`Checker.checkpoint`."""
        for standing in self.history.standings.values():
            self._judge(standing)

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        for standing in self.history.standings.values():
            self._judge(standing)
            if not standing.healthy and within_reach(cluster, PROJECT, standing.token):
                self.violate(
                    f"{standing.service.name} does not get well in a healed cluster: stale since "
                    f"{standing.stale_since_s}, {standing.error or standing.source}, {standing.stale_regions}"
                )

    def _judge(self, standing: Standing) -> None:
        silent_s = self.history.now_s() - standing.heard_s
        if standing.ready and silent_s > SILENT_S:
            self.judged += 1
            if standing.healthy:
                self.violate(
                    f"{standing.service.name} has heard nothing for {silent_s:.1f} s and says that it is not stale"
                )
