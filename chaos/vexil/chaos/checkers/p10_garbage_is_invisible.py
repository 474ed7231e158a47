"""P10: taking garbage out of a state changes nothing that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.checkers.views import State, objects
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Change
from vexil.crdt.flag_document import document
from vexil.crdt.flag_state import FlagState
from vexil.crdt.generation import Cells
from vexil.crdt.segment_state import segment_document
from vexil.node.project import Project
from vexil.node.seams import LogRecord


class GarbageIsInvisible(Checker):
    """Reads each object again from the cells that are left, and compares with what was read before and is served."""

    invariant = "P10"
    claim = "after garbage was collected, everything that can be read is what it was"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nobody shows anything."""
        super().__init__(scene, rng)
        self._touched: dict[tuple[str, str], set[str]] = {}
        self._shown: dict[tuple[str, str], dict[str, tuple[tuple[str, ...], State | None]]] = {}
        """By slot and project: what each object showed after the last batch, and in which environments."""
        self._sizes: dict[tuple[str, str, str], int] = {}
        """By slot, project and object: after the last batch or collection."""

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """`Checker.loaded`."""
        for place in [place for place in self._shown if place[0] == slot.name]:
            del self._shown[place]
            self._touched.pop(place, None)
        if slot.engine is not None:
            for project in slot.engine.projects.values():
                self.advanced(slot, project)

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        touched = self._touched.setdefault((slot.name, project.name), set())
        touched.update(operation.object for operation in change.operations)

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        place = (slot.name, project.name)
        shown = self._shown.setdefault(place, {})
        for name in self._touched.pop(place, None) or objects(project):
            shown[name] = (project.environments, self.views.shown(project, name))
            self._sizes[*place, name] = _size(project.replica.cells(name))

    def collected(self, slot: Slot, project: Project) -> None:
        """`Checker.collected`."""
        shown = self._shown.get((slot.name, project.name), {})
        for name, (environments, before) in shown.items():
            # Collecting makes an object smaller: those that are as large as just before need no second look.
            place = (slot.name, project.name, name)
            size = _size(project.replica.cells(name))
            size_before = self._sizes.get(place, 0)
            if size == size_before or environments != project.environments:
                continue
            self._sizes[place] = size
            self.judged += size < size_before
            after = self.views.shown(project, name)
            if after != before:
                self.violate(
                    f"{slot.name}, {project.name}: {name} was {before}, and is {after} without garbage"
                )
            self._as_served(slot, project, name, after)

    def _as_served(self, slot: Slot, project: Project, name: str, state: State | None) -> None:
        key = name.partition("/")[2]
        for environment in project.environments:
            flag_set = project.flag_set(environment)
            if name.startswith("flag/"):
                served: object = flag_set.flags.get(key)
                said: object = document(state, environment) if isinstance(state, FlagState) else None
            else:
                served = flag_set.segments.get(key)
                said = None if state is None or isinstance(state, FlagState) else segment_document(state)
            if served != said:
                self.violate(f"{slot.name} serves {name} as {served}, without garbage it is {said}")
        conflicts = project.views().conflicts.get(name, ())
        if conflicts != (() if state is None else (*state.conflicts, *state.problems)):
            self.violate(f"{slot.name} lists {conflicts} of {name}, without garbage it is {state}")


def _size(generations: Cells) -> int:
    return sum(sum(map(len, fields.values())) for fields in generations.values())
