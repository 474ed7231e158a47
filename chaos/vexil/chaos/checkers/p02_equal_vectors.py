"""P2: equal version vectors mean byte-identical canonical states, on every node at every moment.

And what a node keeps beside its cells (the root hash, the views that are served) is what its cells say.
"""

from __future__ import annotations

from random import Random
from typing import Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Dot
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.project import Project

THOROUGH_ONE_IN: Final = 16
"""So many batches go by between two comparisons with everything made from scratch."""
Vector = frozenset[Dot]


class EqualVectors(Checker):
    """Compares the root hash of every state that becomes visible with the first one that had the same vector.

    Where an incarnation has two histories, equal vectors may be of two pasts: such states are not compared.
    """

    invariant = "P2"
    claim = "equal version vectors mean equal states, and what is served is what the state says"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """No state has been seen yet."""
        super().__init__(scene, rng)
        self._roots: dict[tuple[str, Vector], tuple[str, str]] = {}

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        self._compare(slot, project)
        if project.name != SYSTEM_PROJECT and self.rng.randrange(THOROUGH_ONE_IN) == 0:
            self._look_through(slot, project)

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """`Checker.alarm`. The nodes themselves have noticed."""
        if kind == "divergence" and not self.history.forked and not self.explained(kind):
            self.violate(f"{slot.name} has met a peer with an equal vector of {detail} and another state")

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        states: dict[tuple[str, Vector], tuple[str, list[bytes]]] = {}
        for slot, engine in engines(cluster):
            for name, project in engine.projects.items():
                self._compare(slot, project)
                self._look_through(slot, project)
                if not self._is_forked(project):
                    found = list(project.replica.canonical())
                    vector = frozenset(project.replica.vv.items())
                    first, state = states.setdefault((name, vector), (slot.name, found))
                    self.judged += first != slot.name
                    if state != found:
                        self.violate(
                            f"{first} and {slot.name} have equal vectors of {name} and differ in bytes"
                        )

    def _is_forked(self, project: Project) -> bool:
        return any(project.replica.known(incarnation) for incarnation in self.history.forked)

    def _compare(self, slot: Slot, project: Project) -> None:
        if self.history.forked and self._is_forked(project):
            return
        replica = project.replica
        found = replica.root_hash()
        root, first = self._roots.setdefault(
            (project.name, frozenset(replica.vv.items())), (found, slot.name)
        )
        self.judged += first != slot.name
        if root != found:
            self.violate(f"{first} and {slot.name} have equal vectors of {project.name}, unequal roots")

    def _look_through(self, slot: Slot, project: Project) -> None:
        """Everything that follows the cells step by step, against the same made of the cells at once."""
        replica = project.replica
        if replica.root != replica.recomputed_root():
            self.violate(f"{slot.name}: the root hash of {project.name} is not that of its cells")
        fresh = Project(project.name, replica, on_defect=lambda *_: None)
        if not fresh.configure(project.environments, project.bucketing):
            fresh.refresh_all()
        for what, served, said in (
            ("serves", _documents(project), _documents(fresh)),
            ("lists", project.conflicts(), fresh.conflicts()),
            ("quarantines", project.quarantined, fresh.quarantined),
        ):
            if served != said:
                self.violate(f"{slot.name}, {project.name}: it {what} {served}, its cells say {said}")


def _documents(project: Project) -> object:
    sets = {environment: project.flag_set(environment) for environment in project.environments}
    return (
        {e: (dict(found.flags), dict(found.segments), found.version) for e, found in sets.items()},
        list(project.flag_keys()),
        list(project.segment_keys()),
    )
