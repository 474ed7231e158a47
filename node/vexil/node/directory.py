"""The project `_system`, read: which projects, keys and members there are.

It replicates like any other project; this is its view. Everything here is looked up in memory on every request, so a
revoked key or an evicted member is refused from the moment in which the change that says so is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vexil.crdt import schema
from vexil.crdt.change import Change, Dot
from vexil.crdt.system_state import KeyState, MemberState, ProjectState, read_key, read_member, read_project
from vexil.node.project import Project


class Registration(NamedTuple):
    """One joining of a slot. ``evicted_by`` is a change that ended it; None while it is a member."""

    slot: str
    region: str
    registration: str
    evicted_by: Dot | None


class Directory:
    """Projects, keys and members by name, following the replica of `_system`."""

    def __init__(self, system: Project) -> None:
        """Read everything that is there."""
        self.system = system
        self.projects: dict[str, ProjectState] = {}
        self.keys: dict[str, KeyState] = {}
        self.members: dict[str, MemberState] = {}
        self._places: dict[int, tuple[str, str]] = {}
        self._registrations: list[Registration] | None = None
        """Kept until a member is another one."""
        self.refresh_all()

    def refresh_all(self) -> None:
        """Read everything again: a start, or a state that has come as a whole."""
        for name in self.system.replica.objects:
            self._refresh(name)

    def place_of(self, incarnation: int) -> tuple[str, str] | None:
        """``(node, region)`` of the process that wrote under ``incarnation``; None while that is not known here."""
        return self._places.get(incarnation)

    def registrations(self) -> Sequence[Registration]:
        """Who may have to be waited for: every member, and every registration that once was one, by slot.

        One that has ended counts for whoever needs it until all others know of its end: `evicted_by` tells when.
        """
        if self._registrations is None:
            self._registrations = self._registered()
        return self._registrations

    def _registered(self) -> list[Registration]:
        found: list[Registration] = []
        for slot, member in sorted(self.members.items()):
            if member.registered:
                found.append(Registration(slot, member.region, member.registration, None))
            ended = {**member.superseded, **member.evicted}
            found += [Registration(slot, member.region, r, by) for r, by in sorted(ended.items())]
        return found

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
            self._registrations = None
            self._places.update(member.incarnations)
