"""P1: merging is idempotent: what a node has is never applied to it a second time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Change
from vexil.node.engine import Engine
from vexil.node.project import Project
from vexil.node.seams import LogRecord


class AppliedOnce(Checker):
    """Remembers, for each process, how far it is in each incarnation: what it loaded, joined and applied."""

    invariant = "P1"
    claim = "a process applies no change that it has already"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """No process runs yet."""
        super().__init__(scene, rng)
        self._has: dict[tuple[str, str], dict[int, int]] = {}
        """By slot and project."""

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Checker.started`."""
        for place in [place for place in self._has if place[0] == slot.name]:
            del self._has[place]

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """`Checker.loaded`. What the journal still holds above the loaded state has not been applied."""
        if slot.engine is not None:
            for project in slot.engine.projects.values():
                self.advanced(slot, project)

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        has = self._has.setdefault((slot.name, project.name), {})
        self.judged += 1
        if change.seq <= has.get(change.incarnation, 0):
            self.violate(f"{slot.name} applied {change.id} of {project.name} although it had it")
        has[change.incarnation] = max(change.seq, has.get(change.incarnation, 0))

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`. A state that came as a whole brings much that is never applied one by one."""
        has = self._has.setdefault((slot.name, project.name), {})
        for incarnation, seq in {**project.replica.retired, **project.replica.vv}.items():
            # A node that forgets what it has is just who would apply it again.
            has[incarnation] = max(seq, has.get(incarnation, 0))
