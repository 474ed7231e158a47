"""P4: what has gone does not come back without a later or concurrent write.

At every slot: a flag, tag, rule or segment member that was shown and is not shown any more is shown again only if the
event graph has a write of it that nobody had seen who wrote there. Now and then, at every node: nothing at all is
live that the author of another change, which is here too, had replaced or removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from random import Random

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.checkers.event_graph import covered_by
from vexil.chaos.checkers.oracle import Address, Dot, Oracle
from vexil.chaos.checkers.views import State, objects
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt import cell as cells
from vexil.crdt import schema
from vexil.crdt.change import Change
from vexil.crdt.flag_state import FlagState
from vexil.crdt.payload import is_tombstone
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.project import Project

Items = frozenset[str]
"""What a flag or segment shows, by the fields that say so; its existence among them."""


class NothingComesBack(Checker):
    """Remembers, for each slot, what it has shown and shows no more."""

    invariant = "P4"
    claim = "nothing that was removed or replaced is shown again, but by a write that had not been seen"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nobody shows anything."""
        super().__init__(scene, rng)
        self._touched: dict[tuple[str, str], set[str]] = {}
        self._shown: dict[tuple[str, str, str], Items] = {}
        """By slot, project and object."""
        self._gone: dict[tuple[str, str, str], Items] = {}
        self._known_good: set[tuple[str, frozenset[Dot], str]] = set()

    # -- as readers see it

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        touched = self._touched.setdefault((slot.name, project.name), set())
        touched.update(operation.object for operation in change.operations)

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`. Where a state has come as a whole, every object of it may be another."""
        if project.name == SYSTEM_PROJECT:
            return
        names = self._touched.pop((slot.name, project.name), None) or objects(project)
        for name in names:
            self._look(slot, project, name)

    def _look(self, slot: Slot, project: Project, name: str) -> None:
        place = (slot.name, project.name, name)
        state = self.views.shown(project, name)
        now = frozenset(_items(state))
        before = self._shown.get(place, frozenset())
        if now == before:
            return
        self._shown[place] = now
        gone = self._gone.get(place, frozenset())
        self.judged += len(before - now)
        for item in sorted(gone & now):
            self._came_back(slot, project, name, state, item)
        self._gone[place] = (gone | before) - now

    def _came_back(self, slot: Slot, project: Project, name: str, state: State | None, item: str) -> None:
        oracle = self.graph.oracle(project.name)
        if oracle is None or state is None:
            return
        if not oracle.present(Address(name, state.generation, item), covered_by(project.replica)):
            self.violate(f"{slot.name} shows {item} of {name} again, and nobody has written it again")

    # -- in the cells

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """`Checker.checkpoint`."""
        for slot, engine in engines(cluster):
            if not slot.ready:
                continue
            for name, project in engine.projects.items():
                replica = project.replica
                state = (name, frozenset(replica.vv.items()), replica.root_hash())
                oracle = self.graph.oracle(name)
                if oracle is not None and state not in self._known_good:
                    self._known_good.add(state)
                    for address, dot in _superseded(oracle, project, covered_by(replica)):
                        self.violate(
                            f"{slot.name} holds {dot} live in {address}: it had been seen and replaced"
                        )

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        self.checkpoint(cluster)


def _items(state: State | None) -> Iterator[str]:
    if state is None:
        return
    yield schema.EXISTS
    if isinstance(state, FlagState):
        yield from map(schema.tag_field, state.tags)
        for environment, part in state.environments.items():
            for rule in part.rules:
                yield schema.rule_field(rule.id, environment=environment)
    else:
        yield from map(schema.member_field, state.members)
        for rule in state.rules:
            yield schema.rule_field(rule.id)


def _superseded(oracle: Oracle, project: Project, covered: Collection[Dot]) -> Iterator[tuple[Address, Dot]]:
    """Live values that others had seen who wrote to the cell, and whose changes are here."""
    for name, generations in project.replica.objects.items():
        for generation, fields in generations.items():
            for field, packed in fields.items():
                values = [lane for lane in cells.live(packed) if not is_tombstone(lane.payload)]
                if not values:
                    continue
                address = Address(name, generation, field)
                survivors = oracle.survivors(address, covered)
                for lane in values:
                    dot = (lane.incarnation, lane.seq)
                    if dot in oracle.events and dot in covered and dot not in survivors:
                        yield address, dot
