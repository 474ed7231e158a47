"""P14: the same version gives the same variant to the same person, on every node."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.history import Standing
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.project import Project
from vexil.sdk.evaluation import evaluate
from vexil.sdk.model import FlagSet

PEOPLE: Final[tuple[Mapping[str, Any], ...]] = (
    {"targetingKey": "ann"},
    {"targetingKey": "bob", "who": "eu-admin-0-1"},
    {},
)
"""By key alone, with something that rules ask for, and nobody in particular."""
Served = tuple[str, Mapping[str, object]]
"""The slot that served it first, and what it was."""


class SameVariant(Checker):
    """Compares what is served under each version with what was served under it first, wherever that was.

    All documents after every batch, and one answer: the version chooses the flag and whom. At the end, all answers.
    """

    invariant = "P14"
    claim = "nodes that serve the same version serve the same documents, and give the same variants"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nothing has been served."""
        super().__init__(scene, rng)
        self._documents: dict[tuple[str, str, str], Served] = {}
        """By project, environment and version."""
        self._answers: dict[tuple[str, str, str], Served] = {}

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        if project.name == SYSTEM_PROJECT:
            return
        for environment in project.environments:
            flag_set = project.flag_set(environment)
            place = (project.name, environment, flag_set.version)
            self._compare(slot.name, place, self._documents, dict(flag_set.flags))
            self._answer(slot.name, place, flag_set)

    def followed(self, standing: Standing) -> None:
        """`Checker.followed`. A client of the same version gives the same answer as nodes do."""
        service, flag_set = standing.service, standing.flag_set
        if standing.ready:
            self._answer(service.name, (PROJECT, service.environment, flag_set.version), flag_set)

    def _answer(self, name: str, place: tuple[str, str, str], flag_set: FlagSet) -> None:
        keys = sorted(flag_set.flags)
        if keys:
            chosen = int(flag_set.version.partition("-")[0], 16)
            who = PEOPLE[chosen % len(PEOPLE)]
            self._compare(name, place, self._answers, _answers(flag_set, [keys[chosen % len(keys)]], who))

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`. Everybody is asked for everything."""
        everything: dict[tuple[str, str, str], Served] = {}
        for slot, engine in engines(cluster):
            for name, project in engine.projects.items():
                for environment in project.environments if name != SYSTEM_PROJECT else ():
                    flag_set = project.flag_set(environment)
                    place = (name, environment, flag_set.version)
                    self._compare(
                        slot.name, place, everything, _answers(flag_set, sorted(flag_set.flags), *PEOPLE)
                    )
        for standing in self.history.standings.values():
            service, flag_set = standing.service, standing.flag_set
            place = (PROJECT, service.environment, flag_set.version)
            if standing.ready:
                answers = _answers(flag_set, sorted(flag_set.flags), *PEOPLE)
                self._compare(service.name, place, everything, answers)

    def _compare(
        self,
        name: str,
        place: tuple[str, str, str],
        served: dict[tuple[str, str, str], Served],
        now: Mapping[str, object],
    ) -> None:
        first, before = served.setdefault(place, (name, now))
        self.judged += first != name
        if before != now:
            differing = {key: (before.get(key), now.get(key)) for key in before.keys() | now.keys()}
            told = {key: both for key, both in sorted(differing.items()) if both[0] != both[1]}
            self.violate(f"{first} and {name} serve {place} differently: {told}")


def _answers(flag_set: FlagSet, keys: list[str], *people: Mapping[str, Any]) -> dict[str, object]:
    """Variant and reason, by key, for each of ``people``."""
    return {
        key: [
            (found.variant, found.reason)
            for found in (evaluate(flag_set, key, who, now_s=0.0) for who in people)
        ]
        for key in keys
    }
