"""P8: a cluster that has converged and has nothing to do sends no payload, and writes nothing."""

from __future__ import annotations

from random import Random

from vexil.chaos.checkers.checker import Checker, Scene, Wait
from vexil.chaos.world.convergence import engines, vectors
from vexil.chaos.world.simulated_cluster import SimulatedCluster


class Silence(Checker):
    """Compares what nodes have sent and what they have, when the calm begins and at the end."""

    invariant = "P8"
    claim = "a converged, idle cluster sends no changes and no cells"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nobody has been quiet yet."""
        super().__init__(scene, rng)
        self._before: dict[str, tuple[object, int, object]] | None = None

    def waited(self, cluster: SimulatedCluster, wait: Wait, *, in_time: bool) -> None:
        """`Checker.waited`."""
        if wait is Wait.TIDY and not in_time:
            self.violate("a converged cluster still writes")
        elif wait is Wait.CALM:
            self._before = _said(cluster)

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        if self._before is None or self.history.forked:
            # Of an incarnation with two histories nodes have different parts for good, and go on offering them.
            return
        self.judged += 1
        for name, after in _said(cluster).items():
            before = self._before.get(name)
            if before != after:
                self.violate(f"{name} is not quiet in a converged, idle cluster: {before} became {after}")


def _said(cluster: SimulatedCluster) -> dict[str, tuple[object, int, object]]:
    """Per slot its process, how many bytes of payload that has sent, and what it has."""
    return {
        slot.name: (
            slot.starts,
            0 if slot.gauges is None else slot.gauges.payload_bytes_sent,
            vectors(engine),
        )
        for slot, engine in engines(cluster)
    }
