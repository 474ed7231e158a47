"""P11: a dot names one change, and an incarnation is one process: nobody takes up a name that was used before."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Change, render_id
from vexil.node.engine import Engine
from vexil.node.project import Project
from vexil.node.seams import LogRecord

FORK = "fork"
"""The alarm of a node. A folder that is put back as it was explains it, too: what had ended goes on there."""
COPY = "copy"
"""What a copied process explains, and nothing else does: one dot is two changes."""


class DotsAreUnique(Checker):
    """Compares every change that is met anywhere with the first one that had its dot.

    Two machines may be made one by a copy, and then nobody can help it; who has noticed takes another name at once.
    """

    invariant = "P11"
    claim = "a dot is one change, and a process has an incarnation of its own"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """No process has run."""
        super().__init__(scene, rng)
        self._homes: dict[int, str] = {}

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Checker.started`."""
        self.judged += 1
        first = self._homes.setdefault(engine.incarnation, f"{slot.name}, start {slot.starts}")
        if first != f"{slot.name}, start {slot.starts}" and not self.explained(COPY, at=slot.name):
            self.violate(f"{slot.name} starts as {engine.incarnation:016x}, which was {first}")

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """`Checker.loaded`."""
        for project, incarnation, seq, raw in records:
            self._compare(slot, project, (incarnation, seq), raw)

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        self._compare(slot, project.name, change.dot, change.raw)
        home = self._homes.setdefault(change.incarnation, slot.name)
        if local and home.partition(",")[0] != slot.name and not self.explained(COPY, at=slot.name):
            self.violate(f"{slot.name} writes {change.id} of {project.name} in the name of {home}")

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """`Checker.alarm`. The nodes themselves have noticed."""
        if kind == FORK and not self.explained(kind):
            self.violate(f"{slot.name} has met two histories of one incarnation in {detail}")

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """`Checker.checkpoint`."""
        for slot, engine in engines(cluster):
            if engine.incarnation in engine.forks.incarnations:
                self.violate(
                    f"{slot.name} goes on as {engine.incarnation:016x}, and knows that others go by that name"
                )

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        self.checkpoint(cluster)

    def _compare(self, slot: Slot, project: str, dot: tuple[int, int], raw: bytes) -> None:
        first = self.history.changes.get(project, {}).get(dot)
        self.judged += 1
        if first is not None and first.raw != raw and not self.explained(COPY):
            self.violate(f"{slot.name}: {render_id(dot)} of {project} is two changes")
