"""P5: while a kill that no un-kill had seen is visible at a node, the node shows the flag on to nobody."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.checkers.oracle import OUTSIDE, Address
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.history import Standing
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.cell import Lane, live
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import UNREADABLE, decode, is_tombstone
from vexil.crdt.schema import FLAG, SYSTEM_PROJECT, kill_field, parse_object
from vexil.node.project import Project
from vexil.sdk.evaluation import evaluate

SOMEBODY: Final[dict[str, Any]] = {"targetingKey": "somebody"}
OFF_REASONS: Final = frozenset(("DISABLED", "ERROR"))


class KillsHold(Checker):
    """Reads the switches from the cells by a rule of its own, and compares what is served after every batch."""

    invariant = "P5"
    claim = "where a kill is visible that no un-kill had seen, the flag is on for nobody"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nothing has been told."""
        super().__init__(scene, rng)
        self._told_of: tuple[object, list[str]] = (None, [])
        """The last state of a client, and the flags that are killed in it."""

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        if project.name == SYSTEM_PROJECT:
            return
        for name, generations in project.replica.objects.items():
            switches = generations.get(NO_GENERATION)
            if not switches:
                continue
            kind, key = parse_object(name) or ("", "")
            for environment in project.environments if kind == FLAG else ():
                cell = switches.get(kill_field(environment))
                if cell is not None and any(map(_kills, live(cell))):
                    self._judge(slot, project, key, environment)

    def followed(self, standing: Standing) -> None:
        """`Checker.followed`. Where a kill has reached a client's set, it is on for nobody there either."""
        oracle = self.graph.oracle(PROJECT) if standing.token else None
        if oracle is None:
            return
        environment, flags = standing.service.environment, standing.flag_set.flags
        state = (environment, frozenset(standing.token.items()))
        if state != self._told_of[0]:
            # As a rule many are told of one state, one after the other.
            covered = self.graph.covered(PROJECT, standing.token)
            known = covered <= oracle.events.keys()
            names = {key: Address(f"{FLAG}/{key}", OUTSIDE, kill_field(environment)) for key in flags}
            self._told_of = (
                state,
                [key for key, name in names.items() if oracle.killed(name, covered)] if known else [],
            )
        for key in self._told_of[1]:
            served = flags.get(key)
            if served is not None:
                self.judged += 1
                answer = evaluate(standing.flag_set, key, SOMEBODY, now_s=0.0)
                if served["enabled"] or answer.reason not in OFF_REASONS:
                    self.violate(
                        f"{standing.service.name} has {key} on in {environment} in spite of a kill that it has"
                    )

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """`Checker.checkpoint`. What a start has loaded, nothing need have advanced since."""
        for slot, engine in engines(cluster):
            if slot.ready:
                for project in engine.projects.values():
                    self.advanced(slot, project)

    def _judge(self, slot: Slot, project: Project, key: str, environment: str) -> None:
        flag_set = project.flag_set(environment)
        served = flag_set.flags.get(key)
        if served is None:
            return
        self.judged += 1
        answer = evaluate(flag_set, key, SOMEBODY, now_s=0.0)
        if served["enabled"] or answer.reason not in OFF_REASONS:
            self.violate(f"{slot.name} shows {key} on in {environment} in spite of a kill")


def _kills(lane: Lane) -> bool:
    """What a switch that cannot be read says is a kill: it may be one that a newer version says more about."""
    value = decode(lane.payload).value
    return value is True or (value is UNREADABLE and not is_tombstone(lane.payload))
