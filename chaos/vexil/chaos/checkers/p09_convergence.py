"""P9: as soon as nothing is broken any more, every node is ready and has what the others have, within a bound."""

from __future__ import annotations

from typing import Final

from vexil.chaos.checkers.checker import Checker, Wait
from vexil.chaos.world.convergence import engines, vectors
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.node.gossip.loops import GossipSettings

GOSSIP: Final = GossipSettings()
CONVERGENCE_LIMIT_S: Final = (2 * GOSSIP.interval_remote_ms + 2 * GOSSIP.interval_region_ms) / 1000 + 0.5
"""Two rounds of digests between regions, two within one, and what messages take on the way."""
JUDGED: Final = (Wait.SET_UP, Wait.READY, Wait.CONVERGED)


class Convergence(Checker):
    """Is told what was waited for, and whether it came in time."""

    invariant = "P9"
    claim = f"a healed cluster is ready, and converges in {CONVERGENCE_LIMIT_S} s"

    def waited(self, cluster: SimulatedCluster, wait: Wait, *, in_time: bool) -> None:
        """`Checker.waited`."""
        if wait not in JUDGED:
            return
        if wait is Wait.CONVERGED and self.history.may_stay_apart:
            return
        self.judged += wait is Wait.CONVERGED
        if not in_time:
            self.violate(f"this has not come in time: {wait.value}; {_where(cluster)}")


def _where(cluster: SimulatedCluster) -> str:
    """Who lacks what, per project as a count of changes: enough to see who is behind."""
    live = engines(cluster)
    behind = {name for name, slot in cluster.slots.items() if not slot.ready}
    had = {
        slot.name: {name: sum(vector.values()) for name, vector in vectors(engine).items()}
        for slot, engine in live
    }
    return f"not ready: {sorted(behind) or 'nobody'}; changes: {had}"
