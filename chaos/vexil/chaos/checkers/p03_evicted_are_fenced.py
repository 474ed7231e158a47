"""P3: of a node that was evicted members take nothing that nobody else has, once they know.

The one idea: a change may be on its way through others when its author is evicted, and then it counts. So what is
judged is who is the first to take it. Whoever knows of the eviction takes it from nobody: the author issues it again
when it has come back, and what was taken from it as well would be there twice (DESIGN.md section 12, rules 8 and 9).
"""

from __future__ import annotations

from random import Random
from typing import Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Change, Dot
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.engine import Engine
from vexil.node.project import Project

UNDER_WAY_S: Final = 1.0
"""What was judged before the eviction was known may still be on its way to the journal."""
COPIES: Final = frozenset(("clone", "copied_machine"))
Registration = tuple[str, str]
"""Of whom, and which."""


class EvictedAreFenced(Checker):
    """Remembers under which registration everything was written, and since when each process knows what is over."""

    invariant = "P3"
    claim = "what an evicted node has written and nobody else has is taken from it by nobody who knows"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nobody has been evicted."""
        super().__init__(scene, rng)
        self._written: dict[tuple[str, Dot], Registration] = {}
        self._known_s: dict[tuple[str, int], dict[Registration, float]] = {}
        """By slot and start: since when it knows."""
        self._slots: dict[str, Slot] = {}

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Checker.started`."""
        self._slots[slot.name] = slot

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        engine = slot.engine
        if project.name != SYSTEM_PROJECT or engine is None:
            return
        known_s = self._known_s.setdefault((slot.name, slot.starts), {})
        for name, member in engine.directory.members.items():
            for registration in member.evicted:
                known_s.setdefault((name, registration), self.history.now_s())

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        key = project.name, change.dot
        if local:
            if slot.engine is not None:
                self._written[key] = slot.member, slot.engine.registration
            return
        written = self._written.get(key)
        if written is not None and self._is_copied(change.incarnation):
            return
        since_s = None if written is None else self._known_s.get((slot.name, slot.starts), {}).get(written)
        if written is None or since_s is None:
            return
        self.judged += 1
        known_for_s = self.history.now_s() - since_s
        if known_for_s > UNDER_WAY_S and not self._has_another(project.name, change.dot, slot, written[0]):
            self.violate(
                f"{slot.name} takes {change.id} of {project.name} from {written[0]}, "
                f"of whose eviction it has known for {known_for_s:.1f} s, and nobody else has it"
            )

    def _is_copied(self, incarnation: int) -> bool:
        """Whether its author was there twice: then nobody can tell in whose name it wrote, until both are gone."""
        author = self.history.authors.get(incarnation)
        return author is not None and any(
            fault.kind in COPIES and author.slot in fault.places for fault in self.history.harm
        )

    def _has_another(self, project: str, dot: Dot, slot: Slot, author: str) -> bool:
        """Whether anybody else has it, or has had it, beside the places of its author."""
        homes = {other.name for other in self._slots.values() if other.member == author}
        if self.history.applied_s.get((project, dot), {}).keys() - homes - {slot.name}:
            return True
        # Whoever has a state that came as a whole has applied nothing.
        engines = [o.engine for o in self._slots.values() if o is not slot and o.name not in homes]
        replicas = [e.projects[project].replica for e in engines if e is not None and project in e.projects]
        return any(replica.known(dot[0]) >= dot[1] for replica in replicas)
