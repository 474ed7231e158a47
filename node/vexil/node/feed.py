"""The change feed of one environment: where it is, and what the last steps were that brought it there.

A follower is always told the newest state and never a queue of states: between two looks it may miss any number of
them. What it missed is the union of the steps, as names; the documents are those that are served when it is told. So
the ring of steps is bounded, and whoever was away for longer takes the whole set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from vexil.node.project import Project
from vexil.node.served_changes import Members, ServedChanges
from vexil.node.signal import Signal
from vexil.sdk.model import FlagSet

STEPS_MAX: Final = 512
NAMES_MAX: Final = 40_000
"""Flags and members that the steps of one feed name, together."""


@dataclass(frozen=True, slots=True)
class Position:
    """A state that the environment had. ``exact``: no other state had the same vector."""

    number: int
    version: str
    vv: Mapping[int, int]
    exact: bool = True


class Told(NamedTuple):
    """A position that differs from the one before, and when it was reached (`trio.current_time`)."""

    number: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """What changed on the way to ``position``."""

    position: Position
    flags: Collection[str]
    segments: Mapping[str, Members | None]
    settings: Collection[str]

    @property
    def size(self) -> int:
        """How many names it holds."""
        return 1 + len(self.flags) + sum(1 if m is None else len(m) for m in self.segments.values())


@dataclass(slots=True)
class Delta:
    """What may have changed since a position: names of flags and settings, segments with their touched members."""

    since: Position
    flags: set[str] = field(default_factory=set)
    segments: dict[str, Members | None] = field(default_factory=dict)
    settings: set[str] = field(default_factory=set)

    def add(self, step: Step) -> None:
        """One step more."""
        self.flags.update(step.flags)
        self.settings.update(step.settings)
        for key, members in step.segments.items():
            known = self.segments.setdefault(key, {})
            if members is None:
                self.segments[key] = None
            elif known is not None:
                for member, belonged in members.items():
                    known.setdefault(member, belonged)


class Feed:
    """The feed of one environment; its owner calls `advance` in the turn in which the project has changed."""

    def __init__(self, project: Project, environment: str) -> None:
        """It begins with what ``environment``, which is one of the project's, serves now."""
        self.project = project
        self.environment = environment
        self.changed = Signal()
        """Told when followers should look, and when one of them has been ended."""
        self._base = self.position = Position(0, self.flag_set.version, dict(project.replica.vv))
        self._steps: deque[Step] = deque()
        self._names = 0
        self.told = self.told_clients = Told(0, trio.current_time())
        """When there was something last that followers are told of: all of them, and holders of a client key."""
        self._visible: set[str] | None = None
        """Flags that client keys see and that have prerequisites; None until somebody asks."""

    @property
    def flag_set(self) -> FlagSet:
        """What the environment serves now."""
        return self.project.flag_set(self.environment)

    @property
    def version(self) -> str:
        """The version of what is served now."""
        return self.position.version

    def watch_clients(self) -> None:
        """From now on `told_clients` moves only for what holders of client keys can see."""
        if self._visible is None:
            flags = self.flag_set.flags
            self._visible = {
                key for key, d in flags.items() if d["prerequisites"] and d.get("client_visible")
            }

    def advance(self, found: ServedChanges) -> None:
        """Take what has changed in the project since the last call."""
        version, vv = self.flag_set.version, dict(self.project.replica.vv)
        flags = found.flags.get(self.environment, {})
        settings = found.settings.get(self.environment, ())
        before = self.position
        differs = bool(found.whole or flags or settings or found.segments)
        if not differs and version == before.version and vv == before.vv:
            return
        # A repair, or other settings: the vector stays, and does not tell the two states apart.
        exact = vv != before.vv or (before.exact and version == before.version and not differs)
        self.position = Position(before.number + 1, version, vv, exact)
        step = Step(self.position, tuple(flags), dict(found.segments), tuple(settings))
        if found.whole or not exact or step.size > NAMES_MAX:
            self._base = self.position
            self._steps.clear()
            self._names = 0
        else:
            self._keep(step)
        if not differs:
            return
        self.told = Told(self.position.number, trio.current_time())
        if found.whole:
            watched, self._visible = self._visible is not None, None
            if watched:
                self.watch_clients()
        if found.whole or self._seen_by_clients(flags, others=bool(settings or found.segments)):
            self.told_clients = self.told
        self.changed.notify()

    def since(self, number: int) -> Delta | None:
        """What may have changed since the position ``number``; None if that is not known any more."""
        if number < self._base.number:
            return None
        since = self._base
        delta = Delta(since)
        for step in self._steps:
            if step.position.number <= number:
                since = step.position
            else:
                delta.add(step)
        delta.since = since
        return delta

    def at_version(self, version: str) -> Position | None:
        """The last position with this version, as far as it is known: equal versions have equal documents."""
        return next((p for p in self.positions() if p.version == version), None)

    def positions(self) -> Iterator[Position]:
        """Those from which it is known what has changed since, newest first."""
        for step in reversed(self._steps):
            yield step.position
        yield self._base

    def at(self, vv: Mapping[int, int]) -> Position | None:
        """The position that has just this vector, as far as it is known and the vector says which it is."""
        retired = self.project.replica.retired
        wanted = {i: seq for i, seq in vv.items() if i not in retired}
        for position in self.positions():
            if position.exact and wanted == {i: s for i, s in position.vv.items() if i not in retired}:
                return position
        return None

    def _keep(self, step: Step) -> None:
        self._steps.append(step)
        self._names += step.size
        while len(self._steps) > STEPS_MAX or self._names > NAMES_MAX:
            oldest = self._steps.popleft()
            self._names -= oldest.size
            self._base = oldest.position

    def _seen_by_clients(self, flags: Mapping[str, bool], *, others: bool) -> bool:
        """Whether an answer to a client key may be another now."""
        if self._visible is None:
            return True
        served = self.flag_set.flags
        for key in flags:
            document = served.get(key)
            if document is not None and document["prerequisites"] and document.get("client_visible"):
                self._visible.add(key)
            else:
                self._visible.discard(key)
        if others or any(flags.values()):
            return True
        # A flag that they do not see may be asked for by one that they see.
        asked, pending = set(self._visible), list(self._visible)
        while pending:
            for required in self.flag_set.prerequisites(pending.pop()):
                if required not in asked:
                    asked.add(required)
                    pending.append(required)
        return not asked.isdisjoint(flags)
