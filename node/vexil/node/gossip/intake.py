"""Received bytes become changes in the replica; what cannot is kept aside and does not come again.

A change that cannot be decoded, or that contradicts its incarnation's chain, stops that incarnation here until
somebody looks at it; every other incarnation goes on. The stopped ones are named in later pulls, so that one bad change
neither fills pages nor starves the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vexil.crdt.change import Change, Undecodable, decode, peek_dot
from vexil.node.gossip.host import Host
from vexil.node.project import Project
from vexil.node.seams import AsideRecord

STOPPED_MAX = 10_000
CHUNK_CHANGES = 4_096
"""So many changes of a page are journalled in one append and applied in one turn of the event loop: more would hold
up reads for longer, fewer would read a flag that is changed often more often than is needed."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a page."""

    applied: int
    gap: bool
    forked: bool
    """Some change contradicts what is known of its incarnation."""


async def take(
    host: Host, project: Project, raws: list[bytes], sender: str, admit: Callable[[], None]
) -> Taken:
    """Decode, judge, journal and apply a page in its order, `CHUNK_CHANGES` at a time.

    Raises JournalFull, and what ``admit`` raises, which is asked whenever a part of it has its turn.
    """
    applied = 0
    gap = forked = False
    for start in range(0, len(raws), CHUNK_CHANGES):
        changes = _decoded(host, project, raws[start : start + CHUNK_CHANGES], sender)
        if changes:
            job = await host.receive(project, changes, sender, admit)
            applied += job.applied
            gap = gap or job.gap
            forked = forked or job.forked
    return Taken(applied, gap=gap, forked=forked)


def _decoded(host: Host, project: Project, raws: list[bytes], sender: str) -> list[Change]:
    changes: list[Change] = []
    for raw in raws:
        try:
            change = decode(raw)
        except Undecodable as error:
            dot = peek_dot(raw)
            if dot is not None and dot[0] == host.incarnation:
                # Not to be stopped: it is ours. But nobody else may write under it.
                host.fork_seen(project.name, dot[0], sender)
            elif dot is not None:
                stop(project, dot[0])
            host.put_aside(AsideRecord(project.name, f"undecodable: {error}", sender, raw))
            continue
        if change.incarnation not in project.stopped:
            changes.append(change)
    return changes


def stop(project: Project, incarnation: int) -> None:
    """Take nothing more of ``incarnation`` in this project (until the process starts anew); what waits of it goes."""
    if len(project.stopped) < STOPPED_MAX:
        project.stopped.add(incarnation)
        for dot in [d for d in project.waiting if d[0] == incarnation]:
            del project.waiting[dot]
