"""The project `_system`, read: which projects, keys and members there are.

It replicates like any other project; this is its view. Everything here is looked up in memory on every request, so a
revoked key or an evicted member is refused from the moment in which the change that says so is applied.
"""

from __future__ import annotations

from collections.abc import Iterable

from vexil.crdt import schema
from vexil.crdt.change import Change
from vexil.crdt.system_state import KeyState, MemberState, ProjectState, read_key, read_member, read_project
from vexil.node.project import Project


class Directory:
    """Projects, keys and members by name, following the replica of `_system`."""

    def __init__(self, system: Project) -> None:
        """Read everything that is there."""
        self.system = system
        self.projects: dict[str, ProjectState] = {}
        self.keys: dict[str, KeyState] = {}
        self.members: dict[str, MemberState] = {}
        self._places: dict[int, tuple[str, str]] = {}
        for name in system.replica.objects:
            self._refresh(name)

    def place_of(self, incarnation: int) -> tuple[str, str] | None:
        """``(node, region)`` of the process that wrote under ``incarnation``; None while that is not known here."""
        return self._places.get(incarnation)

    def refresh(self, changes: Iterable[Change]) -> None:
        """Follow ``changes``, just applied to `_system`."""
        for name in dict.fromkeys(o.object for change in changes for o in change.operations):
            self._refresh(name)

    def _refresh(self, name: str) -> None:
        parsed = schema.parse_object(name)
        if parsed is None:
            return
        kind, key = parsed
        cells = self.system.replica.cells(name)
        if kind == schema.PROJECT:
            self.projects[key] = read_project(cells)
        elif kind == schema.KEY:
            self.keys[key] = read_key(cells)
        elif kind == schema.MEMBER:
            member = self.members[key] = read_member(cells)
            self._places.update(member.incarnations)
