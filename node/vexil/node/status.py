"""What a node says of itself: the answer of ``GET /api/v1/status`` and the source of its gauges.

It is made from memory alone: it works while the store, the peers or the disk do not. Being cut off or behind is said
here; it is never a reason to stop serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import trio

from vexil.crdt import version_vector
from vexil.node.enrolment import EVICTED

if TYPE_CHECKING:
    from vexil.node.engine import Engine

STALE_AFTER_MS = 15_000
"""Knowledge of a region that is older than this is called stale: three digests to it have brought nothing."""


def node_version() -> str:
    """The installed version of this software."""
    try:
        return version("vexil")
    except PackageNotFoundError:
        return "unknown"


def status(engine: Engine) -> dict[str, Any]:
    """The node's state as plain data."""
    writer = engine.writer
    offset_ms = engine.clock_guard.offset_ms()
    ages = as_of_ms(engine)
    return {
        "node": engine.settings.name,
        "region": engine.settings.region,
        "incarnation": f"{engine.incarnation:016x}",
        "version": node_version(),
        "ready": engine.ready,
        "standing": engine.enrolment.standing,
        "registration": engine.registration,
        "returning": None if engine.coming_back is None else engine.coming_back.status(),
        "store": {
            "kind": engine.seams.store.kind,
            "state": "available" if writer is not None and writer.available else "unavailable",
            "backlog": 0 if writer is None else writer.backlog,
            "damaged_records": engine.seams.store.damaged_records,
        },
        "clock": {"offset_ms": offset_ms or 0, "suspect": engine.clock_guard.suspect},
        "projects": {name: _project(engine, name) for name in sorted(engine.projects)},
        "members": [
            _member(engine, slot)
            for slot, member in sorted(engine.directory.members.items())
            if member.registered
        ],
        "lag_ms": engine.clock_guard.lag.summary(),
        "as_of_age_ms": ages,
        "stale_regions": sorted(r for r, age in ages.items() if age is None or age > STALE_AFTER_MS),
        "alarms": {
            "forks": engine.alarms.forks,
            "divergences": engine.alarms.divergences,
            "twins": engine.alarms.twins,
            "damaged": engine.alarms.damaged,
            "restored": engine.alarms.restored,
            "unknown": engine.alarms.unknown,
            "aside": engine.alarms.aside_count,
            "repairs": engine.alarms.repairs,
            "journal_full": engine.alarms.journal_refusals,
        },
        "garbage": engine.caretaker.garbage_status(),
        "log": engine.caretaker.log_status(),
        "repairs": [report.plain() for report in engine.repairs.reports],
        "streams": {"open": engine.feeds.open, "max": engine.feeds.streams_max},
        "links_cut": engine.links.listed(),
    }


def members(engine: Engine) -> list[dict[str, Any]]:
    """Every slot that is or was a member, by name."""
    found = []
    for slot, member in sorted(engine.directory.members.items()):
        if not member.registered and not member.evicted:
            continue
        heard_ms = _heard_ms(engine, slot)
        found.append(
            {
                "node": slot,
                "region": member.region,
                "registration": member.registration,
                "state": _state(engine, slot) if member.registered else "evicted",
                "url": member.http_url,
                "peer_url": member.peer_url,
                "last_heard_ms": heard_ms,
                "announced_ms": engine.told.announced_ms(slot),
                "blocks_garbage": engine.told.blocks_garbage(slot),
            }
        )
    return found


def as_of_ms(engine: Engine) -> dict[str, int | None]:
    """Per region, how old (milliseconds) the oldest knowledge of one of its members is; None: never heard."""
    ages: dict[str, int | None] = {}
    for slot, member in engine.directory.members.items():
        if not member.registered:
            continue
        age = _age_ms(engine, slot)
        if member.region not in ages:
            ages[member.region] = age
        else:
            known = ages[member.region]
            ages[member.region] = None if age is None or known is None else max(age, known)
    return ages


def _age_ms(engine: Engine, slot: str) -> int | None:
    if slot != engine.settings.name:
        return engine.freshness.age_ms(slot)
    # Whoever is evicted is told nothing more, and what it has itself is nobody's.
    return None if engine.enrolment.standing == EVICTED else 0


def _project(engine: Engine, name: str) -> dict[str, Any]:
    project = engine.projects[name]
    return {
        "vv_hash": project.replica.vv_hash(),
        "root_hash": project.replica.root_hash(),
        "flags": len(project.flag_keys()),
        "changes": sum(project.replica.vv.values()) + sum(project.replica.retired.values()),
        "conflicts": project.conflict_count,
        "quarantined": len(project.quarantined),
        "not_exportable": project.not_exportable,
        "waiting": len(project.waiting),
        "snapshot": _snapshot(engine, name),
    }


def _snapshot(engine: Engine, name: str) -> dict[str, Any] | None:
    """How far the snapshot has come that is being taken; None if none is."""
    progress = engine.snapshots.progress.get(name)
    return (
        None if progress is None else {"from": progress.peer, "objects": progress.objects, "of": progress.of}
    )


def _here_and(
    engine: Engine, project: str, vv: Mapping[int, int]
) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """What is here of a project, and of ``vv`` what is not over: all of a retired incarnation is everywhere."""
    if project not in engine.projects:
        return {}, vv
    replica = engine.projects[project].replica
    return replica.vv, {i: seq for i, seq in vv.items() if i not in replica.retired}


def _member(engine: Engine, slot: str) -> dict[str, Any]:
    member = engine.directory.members[slot]
    peer = engine.peers.get(slot)
    behind = 0
    if peer is not None:
        behind = sum(
            version_vector.missing(*_here_and(engine, project, vv)) for project, vv in peer.vv.items()
        )
    return {
        "node": slot,
        "region": member.region,
        "url": member.http_url,
        "incarnation": None if member.current is None else f"{member.current:016x}",
        "state": _state(engine, slot),
        "known_ms": None if peer is None else _since_ms(peer.known_s),
        "last_heard_ms": _heard_ms(engine, slot),
        "behind_changes": behind,
        "behind_ms": 0 if slot == engine.settings.name else engine.freshness.age_ms(slot),
    }


def _state(engine: Engine, slot: str) -> str:
    peer = engine.peers.get(slot)
    if slot == engine.settings.name:
        return "self"
    if peer is None or peer.heard_s is None:
        return "unheard"
    return "unreachable" if peer.unreachable else "suspected" if peer.suspected else "alive"


def _heard_ms(engine: Engine, slot: str) -> int | None:
    if slot == engine.settings.name:
        return 0
    peer = engine.peers.get(slot)
    return _since_ms(None if peer is None else peer.heard_s)


def _since_ms(moment_s: float | None) -> int | None:
    return None if moment_s is None else int((trio.current_time() - moment_s) * 1000)
