"""Whether a cluster is one again: looked at from outside, all nodes at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.replica import Replica
from vexil.node.engine import Engine


def engines(cluster: SimulatedCluster) -> list[tuple[Slot, Engine]]:
    """Every slot with a live process, by name, with its engine."""
    found = [(slot, slot.engine) for _, slot in sorted(cluster.slots.items())]
    return [(slot, engine) for slot, engine in found if engine is not None]


def vectors(engine: Engine, *, without: Collection[int] = ()) -> dict[str, dict[int, int]]:
    """By project what a node has, as incarnation and seq; ``without`` some incarnations."""
    return {
        name: {i: seq for i, seq in project.replica.vv.items() if i not in without}
        for name, project in engine.projects.items()
    }


def converged(cluster: SimulatedCluster, *, without: Collection[int] = ()) -> bool:
    """Whether all slots run, are ready and have the same of equal projects.

    ``without`` are incarnations with two histories: whoever has the one cannot take the other, nor what that says of
    the end of a third.
    """
    if not all(slot.ready for slot in cluster.slots.values()):
        return False
    first, *others = (engine.projects for _, engine in engines(cluster))
    return all(other.keys() == first.keys() for other in others) and all(
        _same([projects[name].replica for projects in (first, *others)], without) for name in first
    )


def within_reach(cluster: SimulatedCluster, project: str, vector: Mapping[int, int]) -> bool:
    """Whether any node has all of ``vector``. What was only at nodes that are gone, nobody ever has again."""
    found = [engine.projects[project].replica for _, engine in engines(cluster) if project in engine.projects]
    return any(replica.covers(vector) for replica in found)


def _same(replicas: Sequence[Replica], without: Collection[int]) -> bool:
    vectors_of_all = [replica.vv for replica in replicas]
    if all(vector == vectors_of_all[0] for vector in vectors_of_all):
        return True
    written = {i for vector in vectors_of_all for i in vector if i not in without}
    return all(len({replica.known(i) for replica in replicas}) == 1 for i in written)


def follows_nothing(engine: Engine) -> bool:
    """Whether a node wants no history any more of what came as a whole."""
    return not engine.past._wanted  # noqa: SLF001 - nobody but the simulation waits for that
