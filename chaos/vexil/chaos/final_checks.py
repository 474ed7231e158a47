"""Checks of a healed and quiet cluster: everybody has everything, everybody has the same, nobody sends anything."""

from __future__ import annotations

from collections import Counter

from vexil.chaos.live_checks import LiveChecks
from vexil.chaos.record import Outcome, Record
from vexil.chaos.simulated_cluster import SimulatedCluster, Slot
from vexil.crdt.change import render_id
from vexil.node.engine import Engine
from vexil.node.project import Project


def engines(cluster: SimulatedCluster) -> list[tuple[Slot, Engine]]:
    """Every slot with its engine; all must be live."""
    found = [(slot, slot.engine) for _, slot in sorted(cluster.slots.items())]
    return [(slot, engine) for slot, engine in found if engine is not None]


def converged(cluster: SimulatedCluster) -> bool:
    """Whether all slots run, are ready and have equal vectors of equal projects."""
    if not all(slot.ready for slot in cluster.slots.values()):
        return False
    vectors = [{n: p.replica.vv for n, p in engine.projects.items()} for _, engine in engines(cluster)]
    return all(vv == vectors[0] for vv in vectors)


def check_all(cluster: SimulatedCluster, record: Record, live: LiveChecks) -> None:
    """P2, P3, P11, P18's one change a key, on every node of a converged cluster."""
    _same_state(cluster, record, live)
    _acknowledged_is_everywhere(cluster, record)
    _one_change_a_key(record)


def _same_state(cluster: SimulatedCluster, record: Record, live: LiveChecks) -> None:
    (first, reference), *others = engines(cluster)
    for name, project in reference.projects.items():
        live.thorough(first, project)
        canonical = list(project.replica.canonical())
        for slot, engine in others:
            other = engine.projects[name]
            live.thorough(slot, other)
            if list(other.replica.canonical()) != canonical:
                record.violate(
                    "P2", f"{first.name} and {slot.name} differ in {name} although their vectors are equal"
                )
            if _served(other) != _served(project):
                record.violate("P14", f"{first.name} and {slot.name} serve {name} differently")


def _served(project: Project) -> object:
    return {e: (dict(project.flag_set(e).flags), project.flag_set(e).version) for e in project.environments}


def _acknowledged_is_everywhere(cluster: SimulatedCluster, record: Record) -> None:
    for slot, engine in engines(cluster):
        for name, changes in record.changes.items():
            known = engine.projects[name].replica.known
            lost = [change.id for dot, change in changes.items() if known(dot[0]) < dot[1]]
            if lost:
                record.violate("P3", f"{slot.name} never got {lost[:5]} of {name} ({len(lost)} in all)")
    for write in record.writes:
        if write.outcome is Outcome.ACKNOWLEDGED and write.dot is not None:
            for slot, engine in engines(cluster):
                if not any(p.replica.known(write.dot[0]) >= write.dot[1] for p in engine.projects.values()):
                    record.violate("P3", f"{slot.name} has lost {render_id(write.dot)}: {write.what}")


def _one_change_a_key(record: Record) -> None:
    keys = Counter(c.idempotency[0] for by in record.changes.values() for c in by.values() if c.idempotency)
    by_key = {c.idempotency[0]: c for by in record.changes.values() for c in by.values() if c.idempotency}
    for write in record.writes:
        count = keys[write.key]
        if count > 1:
            record.violate("P13", f"{write.what} ({write.key}) became {count} changes")
        if write.outcome is Outcome.REFUSED and count:
            record.violate("P3", f"{write.what} ({write.key}) was refused for good, and written")
        if write.outcome is Outcome.ACKNOWLEDGED and (not count or by_key[write.key].dot != write.dot):
            record.violate(
                "P3", f"{write.what} ({write.key}) was acknowledged and is not in any log under its dot"
            )
