"""What a node says of itself: the answer of ``GET /api/v1/status`` and the source of its gauges.

It is made from memory alone: it works while the store, the peers or the disk do not. Being cut off or behind is said
here; it is never a reason to stop serving.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import trio

from vexil.crdt import version_vector

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
    offset_ms = engine.clock_offset_ms()
    ages = engine.as_of_ms()
    return {
        "node": engine.settings.name,
        "region": engine.settings.region,
        "incarnation": f"{engine.incarnation:016x}",
        "version": node_version(),
        "ready": engine.ready,
        "store": {
            "kind": engine.seams.store.kind,
            "state": "available" if writer is not None and writer.available else "unavailable",
            "backlog": 0 if writer is None else writer.backlog,
            "damaged_records": engine.seams.store.damaged_records,
        },
        "clock": {"offset_ms": offset_ms or 0, "suspect": engine.clock_suspect},
        "projects": {name: _project(engine, name) for name in sorted(engine.projects)},
        "members": [
            _member(engine, slot) for slot in sorted(engine.directory.members) if engine.is_member(slot)
        ],
        "lag_ms": engine.lag.summary(),
        "as_of_age_ms": ages,
        "stale_regions": sorted(r for r, age in ages.items() if age is None or age > STALE_AFTER_MS),
        "alarms": {
            "forks": engine.alarms.forks,
            "divergences": engine.alarms.divergences,
            "twins": engine.alarms.twins,
            "damaged": engine.alarms.damaged,
            "aside": engine.alarms.aside_count,
        },
        "links_cut": engine.links.listed(),
    }


def _project(engine: Engine, name: str) -> dict[str, Any]:
    project = engine.projects[name]
    return {
        "vv_hash": project.replica.vv_hash(),
        "root_hash": project.replica.root_hash(),
        "flags": len(project.flag_keys()),
        "changes": project.changes_applied,
        "conflicts": project.conflict_count,
        "quarantined": len(project.quarantined),
        "not_exportable": project.not_exportable,
        "waiting": len(project.waiting),
    }


def _member(engine: Engine, slot: str) -> dict[str, Any]:
    member = engine.directory.members[slot]
    peer = engine.peers.get(slot)
    own = slot == engine.settings.name
    behind = 0
    if peer is not None:
        behind = sum(
            version_vector.missing(engine.projects[p].replica.vv if p in engine.projects else {}, vv)
            for p, vv in peer.vv.items()
        )
    if own:
        state = "self"
    elif peer is None or peer.heard_s is None:
        state = "unheard"
    else:
        state = "unreachable" if peer.unreachable else "suspected" if peer.suspected else "alive"
    heard_s = None if peer is None else peer.heard_s
    return {
        "node": slot,
        "region": member.region,
        "url": member.http_url,
        "incarnation": None if member.current is None else f"{member.current:016x}",
        "state": state,
        "last_heard_ms": 0
        if own
        else None
        if heard_s is None
        else int((trio.current_time() - heard_s) * 1000),
        "behind_changes": behind,
        "behind_ms": 0 if own else engine.freshness.age_ms(slot),
    }
