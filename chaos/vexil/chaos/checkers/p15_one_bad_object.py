"""P15: one bad object harms no other: what cannot be read stays where it is, and everything around it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Final, cast

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.world import junk
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Change
from vexil.crdt.flag_document import document
from vexil.crdt.flag_reader import read_flag
from vexil.crdt.flag_state import FlagState
from vexil.crdt.schema import FLAG, SYSTEM_PROJECT, parse_object
from vexil.node.project import Project
from vexil.sdk.evaluation import evaluate
from vexil.sdk.model import FlagDocument, FlagSet

SOMEBODY: Final[Mapping[str, Any]] = {"targetingKey": "somebody"}


class OneBadObject(Checker):
    """Looks at the flags that no junk has touched: in every batch that brings some, and at every node that has some."""

    invariant = "P15"
    claim = "objects that nobody can read change nothing for any other object"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """There is no junk."""
        super().__init__(scene, rng)
        self._junk: list[tuple[str, Change]] = []
        self._touched: set[tuple[str, str]] = set()
        """By project, the objects that junk has been written into."""
        self._arrived: set[tuple[str, str]] = set()
        """Slots and projects to which junk has come in the batch that is under way."""

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        if change.author == junk.AUTHOR:
            self._arrived.add((slot.name, project.name))
            self._junk.append((project.name, change))
            self._touched.update((project.name, operation.object) for operation in change.operations)

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        if (slot.name, project.name) in self._arrived:
            self._arrived.discard((slot.name, project.name))
            self._judge(slot, project)

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """`Checker.checkpoint`."""
        if self._junk:
            for slot, engine in engines(cluster):
                for name, project in engine.projects.items():
                    if slot.ready and name != SYSTEM_PROJECT:
                        self._judge(slot, project)

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`. What cannot be read here may be read elsewhere, or later: it is kept and passed on."""
        self.checkpoint(cluster)
        for name, change in self._junk:
            has = {
                slot.name: name in engine.projects
                and engine.projects[name].replica.known(change.incarnation) >= change.seq
                for slot, engine in engines(cluster)
            }
            # What nobody has is lost with a disk, or has not come back: P3 tells whether it may be.
            if any(has.values()) and not all(has.values()):
                self.violate(f"not everybody has kept {change.id} of {name}, which nobody can read: {has}")

    def _judge(self, slot: Slot, project: Project) -> None:
        states = {
            key: read_flag(key, project.replica.cells(name), project.environments)
            for name, key in self._sound(project)
        }
        for environment in project.environments:
            among = project.flag_set(environment)
            alone = FlagSet(bucketing=project.bucketing, segments=among.segments)
            for key, state in states.items():
                made = None if state is None else document(state, environment)
                alone.replace_flag(key, cast(FlagDocument | None, made))
            for key, state in states.items():
                if state is not None and state.prerequisites:
                    # What it waits for may be one that junk was written into.
                    continue
                self.judged += 1
                here, there = (evaluate(flags, key, SOMEBODY, now_s=0.0) for flags in (among, alone))
                if among.flags.get(key) != alone.flags.get(key) or here != there:
                    self.violate(
                        f"{slot.name} gives {here} for {key} in {environment} beside what cannot be read, "
                        f"{there} without that"
                    )

    def _sound(self, project: Project) -> Iterator[tuple[str, str]]:
        """Objects and keys of the flags that no junk has touched, neither them nor what they require."""
        flags = {}
        for name in project.replica.objects:
            kind, key = parse_object(name) or ("", "")
            if kind == FLAG:
                flags[key] = name
        bad = {key for key, name in flags.items() if (project.name, name) in self._touched}
        required = {key: self.views.shown(project, name) for key, name in flags.items()}
        before = -1
        while before != len(bad):
            before = len(bad)
            bad |= {
                key
                for key, state in required.items()
                if isinstance(state, FlagState) and bad & state.prerequisites.keys()
            }
        return ((name, key) for key, name in flags.items() if key not in bad)
