"""P12: whatever merging can reach can be read: nothing raises, no process ends by an error of ours."""

from __future__ import annotations

from random import Random
from traceback import format_exception

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster, leaves
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Dot
from vexil.crdt.flag_document import describe, document
from vexil.crdt.flag_reader import read_flag
from vexil.crdt.schema import FLAG, SEGMENT, SYSTEM_PROJECT, parse_object
from vexil.crdt.segment_state import describe_segment, read_segment
from vexil.node.project import INTERNAL_DEFECT, Project


class Total(Checker):
    """Reads every object of every state that it gets to see, in every form, and listens for what went wrong."""

    invariant = "P12"
    claim = "every reachable state can be read as a whole, and no process ends by an error of our own"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nothing has been read yet."""
        super().__init__(scene, rng)
        self._read: set[tuple[str, frozenset[Dot], str]] = set()
        """States, by vector and root hash: the same one is read once."""

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """`Checker.alarm`."""
        if kind == "defect" and not self.explained(kind):
            self.violate(f"{slot.name} could not read an object of {detail}")

    def died(self, slot: Slot, error: BaseException) -> None:
        """`Checker.died`."""
        causes = "; ".join(f"{type(cause).__name__}: {cause}" for cause in leaves(error))
        self.violate(f"{slot.name} died of {causes}\n{''.join(format_exception(error))}")

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """`Checker.checkpoint`."""
        for slot, engine in engines(cluster):
            for name, project in engine.projects.items():
                if slot.ready and name != SYSTEM_PROJECT:
                    self._read_all(slot, project)

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        self.checkpoint(cluster)

    def _read_all(self, slot: Slot, project: Project) -> None:
        broken = [name for name, why in project.quarantined.items() if why == INTERNAL_DEFECT]
        if broken:
            self.violate(f"{slot.name} could not read {broken} of {project.name}")
        replica = project.replica
        state = (project.name, frozenset(replica.vv.items()), replica.root_hash())
        if state in self._read:
            return
        self._read.add(state)
        for name in replica.objects:
            try:
                self.judged += _read(project, name)
            except Exception as error:  # noqa: BLE001 - that it raises is what is judged
                told = "".join(format_exception(error))
                self.violate(f"{slot.name}: {name} of {project.name} cannot be read: {told}")


def _read(project: Project, name: str) -> bool:
    """Everything that is made of one object; whether anything is."""
    kind, key = parse_object(name) or ("", "")
    cells = project.replica.cells(name)
    if kind == SEGMENT:
        segment = read_segment(key, cells)
        if segment is not None:
            describe_segment(segment)
        return True
    if kind != FLAG:
        return False
    flag = read_flag(key, cells, project.environments)
    if flag is not None:
        describe(flag)
        for environment in project.environments:
            document(flag, environment)
    return True
