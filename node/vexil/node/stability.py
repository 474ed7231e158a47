"""Up to where a project's changes are at every member, and who keeps that from going on.

The stable vector is the least of what all counted members have announced. It may be relied on only where nothing that
any of them has promised is unknown here: our own vector must cover every announced one, in the project and in
`_system`, where the members are. A member that was evicted counts until every other counted member has announced that
it knows of the eviction: until then somebody may still take its changes.

What is stable once is stable for ever: whoever becomes a member later begins with the state of one that is past it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from vexil.crdt.change import Dot
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.announcements import Announcement, Announcements, Place
from vexil.node.directory import Registration


class State(Protocol):
    """A project's replica, as far as stability needs it."""

    vv: dict[int, int]

    def covers(self, vv: Mapping[int, int]) -> bool:
        """Whether all of ``vv`` is here, or retired."""


class Waiting(NamedTuple):
    """A member that is waited for, and what it has promised (None: nothing that is known here)."""

    place: Place
    told: Announcement | None


@dataclass(frozen=True, slots=True)
class Stable:
    """Every counted member's store has ``vv``, and nothing that they have promised is unknown here."""

    vv: Mapping[int, int]
    promises: Sequence[Announcement]
    """What it was made of."""
    behind: Sequence[Waiting] = ()
    """Members that have promised less than we have: what is above their promise waits for them."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing may be relied on: these have promised nothing yet, or what is unknown here, or are two processes each."""

    behind: Sequence[Waiting]


def place_of(registration: Registration) -> Place:
    """Whose promises count for it."""
    return Place(registration.slot, registration.registration)


def counted(
    registrations: Sequence[Registration], announcements: Announcements, system: State
) -> list[Registration]:
    """The registrations that count: members, and those of whose eviction some member has not told that it knows."""
    members = [r for r in registrations if r.evicted_by is None]
    return [
        *members,
        *(
            r
            for r in registrations
            if r.evicted_by is not None and not _known_by_all(r.evicted_by, members, announcements, system)
        ),
    ]


def may_still_take(
    ended: Registration,
    registrations: Sequence[Registration],
    announcements: Announcements,
    states: Mapping[str, State],
) -> list[str]:
    """Slots that may have taken changes of a registration that has ended, which we do not have, or may yet take some.

    Either they have not told that they know of its end, or they have promised what is unknown here. ``states`` are
    those of all projects, `_system` among them. Our own place is never among them: we have what we have promised.
    """
    system = states[SYSTEM_PROJECT]
    found = []
    for member in registrations:
        if member.evicted_by is not None or place_of(member) == announcements.own:
            continue
        told = announcements.of(place_of(member))
        knows = ended.evicted_by is None or _known_by_all(ended.evicted_by, [member], announcements, system)
        if told is None or not knows or not all(s.covers(told.vector(name)) for name, s in states.items()):
            found.append(member.slot)
    return found


def _known_by_all(
    dot: Dot, members: Sequence[Registration], announcements: Announcements, system: State
) -> bool:
    incarnation, seq = dot
    if incarnation not in system.vv:
        # We have read the eviction, so its incarnation is retired: every member had announced all of it.
        return True
    for member in members:
        told = announcements.of(place_of(member))
        if told is None or told.vector(SYSTEM_PROJECT).get(incarnation, 0) < seq:
            return False
    return True


def stability(
    project: str,
    state: State,
    system: State,
    *,
    registrations: Sequence[Registration],
    announcements: Announcements,
) -> Stable | Blocked:
    """What is stable of ``project``. ``registrations`` are all of `_system`, the evicted ones too."""
    promises: list[Announcement] = []
    missing: list[Waiting] = []
    for place in map(place_of, counted(registrations, announcements, system)):
        told = announcements.of(place)
        if told is None:
            missing.append(Waiting(place, None))
        elif told.twins:
            # Two processes are this member, and neither knows what the other's store has.
            missing.append(Waiting(place, told))
        elif not (state.covers(told.vector(project)) and system.covers(told.vector(SYSTEM_PROJECT))):
            missing.append(Waiting(place, told))
        else:
            promises.append(told)
    if missing or not promises:
        return Blocked(missing)
    # In a cluster at rest there are none: all of it is everywhere.
    others = [(told, vector) for told in promises if (vector := told.vector(project)) != state.vv]
    if not others:
        return Stable(dict(state.vv), promises)
    least = {}
    for incarnation, seq in state.vv.items():
        common = min(seq, *(vector.get(incarnation, 0) for _, vector in others))
        if common:
            least[incarnation] = common
    behind = [
        Waiting(told.place, told)
        for told, vector in others
        if any(vector.get(i, 0) < seq for i, seq in state.vv.items())
    ]
    return Stable(least, promises, behind)
