"""Who follows which environment: every stream of a node, of whatever protocol, is one follower here.

There is a bound on them, and it is the same bound for all kinds. A follower is told that there is another version and
looks for itself; one that is slow misses versions and nobody waits for it. It is ended when its key is revoked, when
its environment goes, and when the node stops.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import errors
from vexil.node.feed import Feed
from vexil.node.project import Project
from vexil.node.served_changes import ServedChanges

STREAMS_MAX: Final = 10_000
WOKEN_AT_ONCE: Final = 100
"""So many followers go on in one turn of the event loop: all at once they would keep everybody else waiting until the
last one has been written to."""
IDLE_FEEDS_MAX: Final = 64
"""Feeds that nobody follows are kept for who comes back; the one that was left first goes first."""

KEY_REVOKED: Final = "key.invalid"
ENVIRONMENT_GONE: Final = "environment.not_found"
SHUTDOWN: Final = "shutdown"

WhyNot = Callable[[], str | None]
"""Says why a follower may follow no longer; None while it may."""


class Changes:
    """One follower. Iterating gives the present version at once, and then the newest one whenever there is another.

    The iteration ends when the follower is; `ended` says why. `seen` is the position up to which it has been told.
    """

    def __init__(
        self, feed: Feed, *, kind: str, why_not: WhyNot, clients: bool, pace: trio.CapacityLimiter
    ) -> None:
        """See `Feeds.follow`; ``pace`` is shared by all followers."""
        self.feed = feed
        self.kind = kind
        self.ended: str | None = None
        self.seen = -1
        self._why_not = why_not
        self._clients = clients
        self._pace = pace

    @property
    def behind(self) -> bool:
        """Whether there is something new for this follower."""
        return self.seen < self.told

    @property
    def told(self) -> int:
        """Number of the last position that differs for this follower."""
        return (self.feed.told_clients if self._clients else self.feed.told).number

    @property
    def told_s(self) -> float:
        """When it was reached (`trio.current_time`); or when the feed began, if that was later."""
        return (self.feed.told_clients if self._clients else self.feed.told).at_s

    def __aiter__(self) -> Changes:
        """Itself."""
        return self

    async def __anext__(self) -> str:
        """The newest version, once there is one that was not given yet."""
        while self.ended is None:
            if self.behind:
                self.seen = self.feed.position.number
                return self.feed.version
            await self._woken()
        raise StopAsyncIteration

    async def look(self, timeout_s: float) -> bool:
        """Wait until there is something new, the follower has ended (both: True), or time is over (False)."""
        with trio.move_on_after(timeout_s):
            while self.ended is None and not self.behind:
                await self._woken()
        return self.ended is not None or self.behind

    async def _woken(self) -> None:
        await self.feed.changed.wait()
        async with self._pace:
            await trio.lowlevel.checkpoint()

    def check(self) -> None:
        """End it if it may not follow any longer."""
        if self.ended is None:
            self.end(self._why_not())

    def end(self, why: str | None) -> None:
        """End it, unless ``why`` is None."""
        if why is not None and self.ended is None:
            self.ended = why
            self.feed.changed.notify()


class Feeds:
    """The feeds and followers of one node. Everything but waiting happens in the turn in which it is called."""

    def __init__(self, projects: Callable[[str], Project | None], *, streams_max: int = STREAMS_MAX) -> None:
        """Nobody follows yet. ``projects`` gives a project that exists by its name."""
        self.streams_max = streams_max
        self._projects = projects
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._followers: dict[Feed, dict[Changes, None]] = {}
        self._idle: OrderedDict[Feed, None] = OrderedDict()
        self._open: Counter[str] = Counter()
        self._closed = False
        self._pace = trio.CapacityLimiter(WOKEN_AT_ONCE)

    @property
    def open(self) -> dict[str, int]:
        """How many follow, by kind."""
        return dict(self._open)

    def admit(self) -> None:
        """Raises StreamsFull where `follow` would, NodeNotReady where nobody else is let in."""
        if self._closed:
            raise errors.NodeNotReady("this node is stopping")
        if self._open.total() >= self.streams_max:
            raise errors.StreamsFull(f"{self.streams_max} streams are open here")

    @asynccontextmanager
    async def follow(
        self,
        project: str,
        environment: str,
        *,
        kind: str = "flagd",
        why_not: WhyNot = lambda: None,
        clients: bool = False,
    ) -> AsyncIterator[Changes]:
        """Follow an environment: ``async with feeds.follow(…) as changes: async for version in changes: …``.

        ``why_not`` is asked whenever `_system` has changed. ``clients``: only what holders of a client key can see is
        a change. Raises NotFound, and StreamsFull above ``streams_max``.
        """
        feed = self._join(project, environment)
        changes = Changes(feed, kind=kind, why_not=why_not, clients=clients, pace=self._pace)
        if clients:
            feed.watch_clients()
        self._followers[feed][changes] = None
        self._open[kind] += 1
        changes.check()
        try:
            yield changes
        finally:
            self._open[kind] -= 1
            self._leave(feed, changes)

    def advanced(self, project: Project) -> None:
        """A batch of changes is visible, or a whole state; of `_system`: keys and settings may be others."""
        if project.name != SYSTEM_PROJECT:
            self._advance(project)
            return
        for feed in list(self._feeds.values()):
            gone = self._projects(feed.project.name) is not feed.project
            if gone or feed.environment not in feed.project.environments:
                self._drop(feed, ENVIRONMENT_GONE)
        for watched in {feed.project.name: feed.project for feed in self._feeds.values()}.values():
            self._advance(watched)
        for followers in list(self._followers.values()):
            for changes in followers:
                changes.check()

    def close(self) -> None:
        """The node stops: every follower ends, and nobody else is let in."""
        self._closed = True
        for followers in self._followers.values():
            for changes in followers:
                changes.end(SHUTDOWN)

    def _join(self, name: str, environment: str) -> Feed:
        self.admit()
        feed = self._feeds.get((name, environment))
        if feed is not None:
            self._idle.pop(feed, None)
            return feed
        project = self._projects(name)
        if project is None:
            raise errors.NotFound("project", name)
        if environment not in project.environments:
            raise errors.NotFound("environment", environment)
        if project.served_changes is None:
            project.served_changes = ServedChanges()
        feed = self._feeds[name, environment] = Feed(project, environment)
        self._followers[feed] = {}
        return feed

    def _leave(self, feed: Feed, changes: Changes) -> None:
        followers = self._followers.get(feed)
        if followers is None:
            return  # its environment has gone
        followers.pop(changes, None)
        if not followers:
            self._idle[feed] = None
            if len(self._idle) > IDLE_FEEDS_MAX:
                self._drop(next(iter(self._idle)), ENVIRONMENT_GONE)

    def _advance(self, project: Project) -> None:
        found = project.served_changes
        if found is None:
            return
        project.served_changes = ServedChanges()
        for environment in project.environments:
            feed = self._feeds.get((project.name, environment))
            if feed is not None:
                feed.advance(found)

    def _drop(self, feed: Feed, why: str) -> None:
        del self._feeds[feed.project.name, feed.environment]
        self._idle.pop(feed, None)
        for changes in self._followers.pop(feed):
            changes.end(why)
        if not any(other.project is feed.project for other in self._feeds.values()):
            feed.project.served_changes = None
