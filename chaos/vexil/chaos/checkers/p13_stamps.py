"""P13, the part that clocks have in it: a stamp is above all that its author had seen, and nobody's wrong clock is.

The graph resolves races by stamps. So a write must be stamped above every stamp that its node believed, and a stamp
that is far ahead of a node's own clock must not be believed there.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Change
from vexil.crdt.hlc import milliseconds
from vexil.node.engine import Engine
from vexil.node.engine_types import CLOCK_SKEW_LIMIT_MS
from vexil.node.project import Project


@dataclass(slots=True)
class _Seen:
    """What one process may know of time."""

    stamp: int = 0
    """The highest that a write of it has seen and believed."""
    arrived: int = 0
    """The same with the batch that is not visible yet."""


class Stamps(Checker):
    """Keeps the highest stamp that each process has seen and could believe."""

    invariant = "P13"
    claim = "a write is stamped above all that its node has seen, and never by another node's wrong clock"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """No process runs."""
        super().__init__(scene, rng)
        self._seen: dict[str, _Seen] = {}

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Checker.started`."""
        self._seen[slot.name] = _Seen()

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        seen = self._seen.setdefault(slot.name, _Seen())
        if local:
            self.judged += 1
            if change.hlc <= seen.stamp:
                self.violate(f"{slot.name} stamps {change.id} of {project.name} below what it had seen")
            if milliseconds(change.hlc) > slot.clock.shown_ms_max + CLOCK_SKEW_LIMIT_MS:
                self.violate(f"{slot.name} stamps {change.id} of {project.name} with another's wrong clock")
            seen.stamp = max(seen.stamp, change.hlc)
        elif milliseconds(change.hlc) <= slot.clock.wall_ms() + CLOCK_SKEW_LIMIT_MS:
            # Decided in the same batch, a write has not seen it yet.
            seen.arrived = max(seen.arrived, change.hlc)

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        seen = self._seen.setdefault(slot.name, _Seen())
        seen.stamp = max(seen.stamp, seen.arrived)
