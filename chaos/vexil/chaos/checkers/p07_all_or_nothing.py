"""P7: a change is visible as a whole or not at all.

In the cells: after every batch each operation of each change that has come is there (or replaced since), with all that
it replaces; and nothing is there of a change that has not come. In what is served: the flags of a change are brought up
to date together, and the two that are only ever written together say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.clients.operations import PAIR, PROJECT
from vexil.chaos.run.history import Read
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt import cell as cells
from vexil.crdt.change import Change, Operation
from vexil.crdt.flag_document import document
from vexil.crdt.flag_state import FlagState
from vexil.crdt.replica import Replica
from vexil.node.engine import Engine
from vexil.node.project import Project
from vexil.node.seams import LogRecord


class AllOrNothing(Checker):
    """Keeps up to where each slot had come, so that it knows what a batch or a whole state has brought."""

    invariant = "P7"
    claim = "all operations of a change become visible at once"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nobody shows anything."""
        super().__init__(scene, rng)
        self._reached: dict[tuple[str, str], dict[int, int]] = {}
        self._half: tuple[object, object] | None = None
        """The request in which one flag of the pair was read last, and what it showed."""

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Checker.started`."""
        for place in [place for place in self._reached if place[0] == slot.name]:
            del self._reached[place]

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """`Checker.loaded`."""
        if slot.engine is not None:
            for project in slot.engine.projects.values():
                self.advanced(slot, project)

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        replica = project.replica
        reached = self._reached.setdefault((slot.name, project.name), {})
        served: dict[str, bool] = {}
        for change in self._come(project.name, reached, {**replica.retired, **replica.vv}):
            self.judged += len(change.operations) > 1
            cells_of = [(o, cells.unpacked(replica.cell(*o[:3]))) for o in change.operations]
            missing = [o for o, cell in cells_of if not _is_there(replica, change, o, cell)]
            if missing:
                places = [(o.object, o.field) for o in missing]
                self.violate(f"{slot.name} has {change.id} of {project.name} without {places}")
            self._served(slot, project, change, served)
            for o, cell in cells_of:
                if _is_ahead(replica, cell):
                    self.violate(
                        f"{slot.name} shows in {o.field} of {o.object} a change that it does not have"
                    )
        if project.name == PROJECT:
            self._pair(slot, project)

    def _come(self, name: str, reached: dict[int, int], now: dict[int, int]) -> Iterator[Change]:
        """What is new since `reached`, which becomes ``now``."""
        changes = self.history.changes.get(name, {})
        for incarnation, last in now.items():
            for seq in range(reached.get(incarnation, 0) + 1, last + 1):
                change = changes.get((incarnation, seq))
                if change is not None and incarnation not in self.history.forked:
                    yield change
        reached.clear()
        reached.update(now)

    def _served(self, slot: Slot, project: Project, change: Change, known: dict[str, bool]) -> None:
        """Of several flags that a change has touched, all are served as their cells say, or none is yet.

        ``known`` remembers which are, among the changes of one batch.
        """
        names = {operation.object for operation in change.operations if operation.object.startswith("flag/")}
        if len(names) > 1:
            for name in names - known.keys():
                known[name] = self._is_served(project, name)
            served = {name: known[name] for name in sorted(names)}
            if len(set(served.values())) > 1:
                self.violate(f"{slot.name} serves half of {change.id} of {project.name}: {served}")

    def _is_served(self, project: Project, name: str) -> bool:
        key, state = name.partition("/")[2], self.views.shown(project, name)
        return all(
            project.flag_set(environment).flags.get(key)
            == (document(state, environment) if isinstance(state, FlagState) else None)
            for environment in project.environments
        )

    def _pair(self, slot: Slot, project: Project) -> None:
        flags = [project.flag_set(environment).flags for environment in project.environments]
        shown = [[served[key]["metadata"] if key in served else None for key in PAIR] for served in flags]
        self.judged += 1
        if any(left != right for left, right in shown):
            self.violate(f"{slot.name} shows half of a change set: {shown}")

    def read(self, read: Read) -> None:
        """`Checker.read`. Who asks for both flags of the pair at once is shown both as of one moment."""
        if read.answer != "ok" or read.flag not in PAIR:
            return
        request = (read.client, read.number, read.began_s)
        if self._half is None or self._half[0] != request:
            self._half = (request, read.metadata)
            return
        self.judged += 1
        if read.metadata != self._half[1]:
            self.violate(
                f"{read.slot} shows {read.client} half of a change set: {read.metadata}, {self._half[1]}"
            )


def _is_there(replica: Replica, change: Change, operation: Operation, flat: cells.Flat) -> bool:
    """Whether the cell has the write, or a later state of it (replaced, or collected), and nothing it replaced."""
    lanes = {flat[i]: (flat[i + 1], flat[i + 4]) for i in range(0, len(flat), cells.WIDTH)}
    incarnation = change.incarnation
    if max(lanes.get(incarnation, (0, 0))) < change.seq and not (
        incarnation in replica.retired or replica.floor.get(incarnation, 0) >= change.seq
    ):
        return False
    for other, replaced in operation.seen:
        written, seen = lanes.get(other, (0, 0))
        if seen < written <= replaced:
            return False
    return True


def _is_ahead(replica: Replica, flat: cells.Flat) -> bool:
    """Whether a change shows in the cell that the node does not have."""
    for i in range(0, len(flat), cells.WIDTH):
        if flat[i + 1] > flat[i + 4] and flat[i + 1] > replica.known(flat[i]):
            return True
    return False
