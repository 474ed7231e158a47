"""P13: what a node holds and shows is what the event graph says of the changes that it has.

The graph knows no cells, lanes or joins: a write survives iff no operation on its cell had seen it. What a node has
collected as garbage, up to its floor (tombstones, and all of a deleted generation), need not be held any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from random import Random
from typing import Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.checkers.event_graph import covered_by
from vexil.chaos.checkers.oracle import EXISTENCE, OUTSIDE, REMOVED, Address, Dot, Oracle
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt import cell as cells
from vexil.crdt.change import render_id
from vexil.crdt.flag_state import FlagState
from vexil.crdt.payload import UNREADABLE
from vexil.crdt.replica import Replica
from vexil.node.project import Project

TOLD_MAX: Final = 3
"""Differences of one node that are told."""


class AsTheGraphSays(Checker):
    """Compares every live lane of every cell, and what flags and segments show."""

    invariant = "P13"
    claim = "every node holds and shows what an independent event graph says of the changes that it has"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nothing has been compared yet."""
        super().__init__(scene, rng)
        self._known_good: set[tuple[str, frozenset[Dot], str]] = set()

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """`Checker.checkpoint`."""
        for slot, engine in engines(cluster):
            if slot.ready:
                for project in engine.projects.values():
                    self._judge(slot, project)

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        self.checkpoint(cluster)

    def _judge(self, slot: Slot, project: Project) -> None:
        oracle = self.graph.oracle(project.name)
        wrong, self.graph.wrong[:] = list(self.graph.wrong), []
        replica = project.replica
        state = (project.name, frozenset({**replica.retired, **replica.vv}.items()), replica.root_hash())
        # Whoever asked the graph first has noted them, and no state here need be of it.
        for detail in wrong:
            self.violate(detail)
        if oracle is None or state in self._known_good:
            return
        self._known_good.add(state)
        self.judged += 1
        for told, difference in enumerate(self._differences(oracle, project)):
            if told < TOLD_MAX:
                self.violate(f"{slot.name}, {project.name}: {difference}")

    def _differences(self, oracle: Oracle, project: Project) -> Iterator[str]:
        replica = project.replica
        covered = covered_by(replica)
        unknown = [render_id(dot) for dot in covered if dot not in oracle.events]
        if unknown:
            yield f"it covers changes that nobody wrote: {sorted(unknown)[:TOLD_MAX]}"
            return
        missing = oracle.missing_causes(covered)
        if missing:
            yield f"it has effects without causes: {sorted(missing)[:TOLD_MAX]}"
        yield from self._twice(project.name, covered)
        for address in oracle.addresses():
            expected = {
                dot: (write.hlc, self.graph.payloads[project.name, address, dot])
                for dot, write in oracle.survivors(address, covered).items()
            }
            held = {
                (ln.incarnation, ln.seq): (ln.hlc, ln.payload) for ln in cells.live(replica.cell(*address))
            }
            wrong = [dot for dot, said in held.items() if expected.get(dot) != said]
            gone = expected.keys() - held.keys()
            if wrong or not all(_collected(oracle, address, dot, replica, covered) for dot in gone):
                yield f"{address} holds {sorted(held)}, the graph says {sorted(expected)}"
        for name in sorted({address.object for address in oracle.addresses()}):
            kind, _, key = name.partition("/")
            if kind == "flag":
                yield from self._flag(oracle, project, name, key, covered)
            elif kind == "segment":
                yield from self._segment(oracle, project, name, key, covered)

    def _twice(self, project: str, covered: Collection[Dot]) -> Iterator[str]:
        for (name, key), dots in self.graph.keys.items():
            here = [render_id(dot) for dot in dots if dot in covered]
            if name == project and len(here) > 1:
                yield f"one write, {key}, is {len(here)} changes: {here}"

    # -- what is shown

    def _flag(
        self, oracle: Oracle, project: Project, name: str, key: str, covered: Collection[Dot]
    ) -> Iterator[str]:
        state = project.flag(key)
        generations = oracle.generations(name, covered)
        if state is None or not generations:
            if (state is None) != (not generations):
                yield f"{name} is shown: {state is not None}; the graph has {generations}"
            return
        if state.generation != generations[0].generation:
            yield f"{name} shows {state.generation}, the graph {generations[0]}"
            return
        yield from self._fields(oracle, project, state, name, covered)
        tags = _present(oracle, name, state.generation, "tag/", covered)
        if set(state.tags) != tags:
            yield f"{name} has the tags {sorted(state.tags)}, the graph says {sorted(tags)}"
        if state.needs_review != oracle.needs_review(name, state.generation, covered):
            yield f"{name} needs review: {state.needs_review} ({EXISTENCE})"

    def _fields(
        self, oracle: Oracle, project: Project, state: FlagState, name: str, covered: Collection[Dot]
    ) -> Iterator[str]:
        shown: dict[str, object] = {"description": state.description, "owner": state.owner}
        for environment in project.environments:
            part = state.environments[environment]
            shown[f"env/{environment}/enabled"] = part.enabled
            shown[f"env/{environment}/default"] = part.default
            if part.kill != oracle.killed(Address(name, OUTSIDE, f"kill/{environment}"), covered):
                yield f"{name} in {environment} is killed: {part.kill}"
        for field, value in shown.items():
            write = oracle.winner(Address(name, state.generation, field), covered)
            if write is not None and (
                (project.name, write.dot) in self.graph.junk or write.value is UNREADABLE
            ):
                continue
            expected = None if write is None else write.value
            if (value or None) != (expected or None):
                yield f"{name} {field} is {value!r}, the graph says {expected!r}"

    @staticmethod
    def _segment(
        oracle: Oracle, project: Project, name: str, key: str, covered: Collection[Dot]
    ) -> Iterator[str]:
        state = project.segment(key)
        generations = oracle.generations(name, covered)
        if (state is None) != (not generations):
            yield f"{name} is shown: {state is not None}; the graph has {generations}"
        elif state is not None:
            members = _present(oracle, name, generations[0].generation, "member/", covered)
            if state.members != members:
                yield f"{name} has the members {sorted(state.members)}, the graph says {sorted(members)}"


def _present(oracle: Oracle, name: str, generation: Dot, prefix: str, covered: Collection[Dot]) -> set[str]:
    return {
        address.field.removeprefix(prefix)
        for address in oracle.addresses(name)
        if address.generation == generation
        and address.field.startswith(prefix)
        and oracle.present(address, covered)
    }


def _collected(
    oracle: Oracle, address: Address, dot: Dot, replica: Replica, covered: Collection[Dot]
) -> bool:
    """Whether a node may have taken a surviving write out of its state."""
    if replica.floor.get(dot[0], 0) < dot[1] and dot[0] not in replica.retired:
        return False
    survivors = oracle.survivors(address, covered)
    if all(write.value is REMOVED for write in survivors.values()):
        return True
    existence = oracle.survivors(Address(address.object, address.generation, EXISTENCE), covered)
    return bool(existence) and all(write.value is REMOVED for write in existence.values())
