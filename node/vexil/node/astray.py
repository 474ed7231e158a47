"""Whose state nobody may go on from: it holds what an evicted node wrote and nobody takes.

A node that was evicted and does not know it goes on writing, and sponsors whoever asks it. What it has given away so
may lie beyond the end at which its incarnations are retired everywhere else, or may do so at any moment. Vectors tell:
those of a stranger who asks to join, of a page that is pushed, of our own state when it learns of an end. There is one
way back for all of them, which is to begin anew.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from vexil.crdt import retired
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT
from vexil.node.directory import Directory
from vexil.node.membership import registration_of
from vexil.node.project import Project

Vectors = Mapping[str, Mapping[int, int]]
"""Per project a version vector."""


def evicted_incarnations(directory: Directory) -> set[int]:
    """Those of registrations that were evicted: whatever ran in their slots, but for what runs there now.

    Of a slot that is registered again what ran last is told as current until the new process has begun.
    """
    found: set[int] = set()
    for member in directory.members.values():
        if not member.registered:
            found.update(member.incarnations)
        elif member.evicted or member.superseded:
            over = {*member.evicted, *member.superseded}
            found.update(i for i in member.incarnations if i != member.current or registration_of(i) in over)
    return found


def may_be_astray(seen: Vectors, projects: Mapping[str, Project], directory: Directory) -> bool:
    """Whether a stranger's state of the vectors ``seen`` has more of an ended incarnation than we know of it.

    A member may be ahead of us so; of a stranger nobody waits to hear before such an incarnation is retired.
    """
    ended = evicted_incarnations(directory)
    for name, vector in seen.items():
        replica = _replica(projects, name)
        unseen = {i for i, seq in vector.items() if seq > replica.known(i)}
        if not unseen.isdisjoint(replica.retired) or not unseen.isdisjoint(ended):
            return True
    return False


def is_astray(seen: Vectors, projects: Mapping[str, Project], directory: Directory) -> bool:
    """Whether ``seen`` names changes of an evicted node beyond the end at which it is retired here.

    No member can have them: each of them had promised just that end.
    """
    beyond = {
        i
        for name, vector in seen.items()
        for i, seq in vector.items()
        if seq > _replica(projects, name).retired.get(i, seq)
    }
    # The set of all evicted ones is made only where it matters.
    return bool(beyond) and not beyond.isdisjoint(evicted_incarnations(directory))


def beyond_the_end(replica: Replica, forked: Container[int]) -> bool:
    """Whether a state has more of an incarnation than its own cells say there is; ``forked`` ones have two ends."""
    table = replica.cells(RETIRED_OBJECT).get(NO_GENERATION, {})
    return any(
        replica.vv.get(incarnation, 0) > final and incarnation not in forked
        for _, incarnation, final in retired.of_cells(table)
    )


def _replica(projects: Mapping[str, Project], name: str) -> Replica:
    project = projects.get(name)
    return Replica() if project is None else project.replica
