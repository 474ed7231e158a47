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
from vexil.node.project import Project

UNDER_WAY_S: Final = 1.0
"""What was judged before the eviction was known may still be on its way to the journal."""
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
        since_s = None if written is None else self._known_s.get((slot.name, slot.starts), {}).get(written)
        if written is None or since_s is None:
            return
        self.judged += 1
        known_for_s = self.history.now_s() - since_s
        if known_for_s > UNDER_WAY_S and not self._others(key, slot):
            self.violate(
                f"{slot.name} takes {change.id} of {project.name} from {written[0]}, "
                f"of whose eviction it has known for {known_for_s:.1f} s, and nobody else has it"
            )

    def _others(self, key: tuple[str, Dot], slot: Slot) -> set[str]:
        """Who else has had it, beside the place that it was written at."""
        author = self.history.authors.get(key[1][0])
        home = set() if author is None else {author.slot}
        return self.history.applied_s.get(key, {}).keys() - {slot.name} - home
