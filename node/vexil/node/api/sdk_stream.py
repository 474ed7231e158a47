"""``GET /sdk/v1/stream``: an environment as it is, and from then on what changes in it.

A stream is always at one position of its environment's feed. Whenever it gets to write, it writes the patch from there
to the newest state; what happened in between is never queued. It begins with the whole set, unless the caller says by
``Last-Event-ID`` (the token of the last event) or ``If-None-Match`` (the version) that it is where the feed has been.

Nothing is sent that would take the caller back in time: while the node lacks what ``Last-Event-ID`` names, there are
only signs of life, with ``"behind": true``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import trio

from vexil.crdt.hlc import render_time
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import errors
from vexil.node.api import event_stream, tokens
from vexil.node.api.exchange import Answer, Call, Route
from vexil.node.api.freshness import stale_regions
from vexil.node.api.sdk_flags import READERS, document_of, environment_of
from vexil.node.feed import Feed, Position
from vexil.node.feeds import ENVIRONMENT_GONE, KEY_REVOKED, Changes
from vexil.sdk import ofrep

KIND: Final = "sdk"


async def stream(call: Call) -> Answer:
    """Events ``put``, ``patch``, ``status`` and ``end``, and a comment as heartbeat."""
    call.node.feeds.admit()
    made = _Stream(call, environment_of(call))
    return call.stream(made.events())


class _Stream:
    """One open stream."""

    def __init__(self, call: Call, environment: str) -> None:
        self._call = call
        self._environment = environment
        self._position: Position | None = None
        self._told: tuple[object, ...] = ()
        """What the last status said that does not change by itself; empty: there is to be one."""

    async def events(self) -> AsyncIterator[bytes]:
        call, services = self._call, self._call.services
        metrics, limits, rng = services.metrics, services.limits, services.rng
        why = ""
        try:
            async with call.node.feeds.follow(
                call.project.name, self._environment, kind=KIND, why_not=self._why_not
            ) as changes:
                yield event_stream.retry(rng, limits)
                self._position = self._resumed(changes.feed)
                # They are not all to beat at once that have come at once.
                beat_s = limits.stream_heartbeat_s * rng.uniform(0.5, 1)
                while changes.ended is None:
                    # What other environments have changed moves the version too, and that can wait for a heartbeat.
                    if not self._behind():
                        async with aclosing(self._news(changes)) as news:
                            async for piece in news:
                                yield piece
                    if self._standing() != self._told:
                        yield self._status()
                    if not await self._wait(changes, beat_s):
                        beat_s = limits.stream_heartbeat_s
                        yield event_stream.HEARTBEAT
                        self._told = ()
                why = changes.ended
        except errors.ApiError as error:
            why = error.code
        metrics.count_stream_end(KIND, why)
        yield event_stream.end(why, rng, limits)

    # -- what is sent

    async def _news(self, changes: Changes) -> AsyncGenerator[bytes]:
        """The way to the newest state, if the caller is not there."""
        feed, services = changes.feed, self._call.services
        while changes.ended is None and not self._is_at(feed):
            position = self._position
            patch = None
            if position is not None:
                patch = await services.patches.since(feed, position.number, self._token)
            if patch is not None:
                services.metrics.count_stream_event(KIND, "patch")
                self._position = patch.position
                for piece in patch.pieces:
                    yield piece
            else:
                document = await document_of(self._call, self._environment)
                self._position = feed.at_version(document.version)
                if self._position is None and document.version == feed.flag_set.version:
                    self._position = feed.position  # other settings, of which the feed is told in a moment
                services.metrics.count_stream_event(KIND, "put")
                yield event_stream.head("put", id_=document.token)
                for piece in document.pieces:
                    yield piece
                yield event_stream.TAIL
        changes.seen = feed.position.number

    def _is_at(self, feed: Feed) -> bool:
        return self._position is not None and self._position.number == feed.position.number

    def _status(self) -> bytes:
        """How fresh what this node serves is; see `vexil.node.api.freshness`."""
        services, node = self._call.services, self._call.node
        self._told = self._standing()
        ages_ms, now_ms = node.as_of_ms(), services.clock.wall_ms()
        member = node.directory.members.get(node.name)
        return event_stream.event(
            "status",
            {
                "as_of": {
                    region: None if age_ms is None else render_time(now_ms - age_ms)
                    for region, age_ms in sorted(ages_ms.items())
                },
                "stale": stale_regions(ages_ms, stale_after_ms=services.limits.stale_after_ms),
                "behind": self._behind(),
                "node": node.name,
                "region": "" if member is None else member.region,
            },
        )

    def _standing(self) -> tuple[object, ...]:
        node, limits = self._call.node, self._call.services.limits
        return self._behind(), *stale_regions(node.as_of_ms(), stale_after_ms=limits.stale_after_ms)

    def _token(self) -> str:
        return self._call.services.mint.token_of(self._call.project, self._call.node.directory)

    # -- where it stands

    def _resumed(self, feed: Feed) -> Position | None:
        """Where the caller says that he is; None if he says nothing that is known here."""
        version = self._call.header("If-None-Match")
        if version is not None:
            known = (p for p in feed.positions() if ofrep.matches(version, f'"{p.version}"'))
            return next(known, None)
        seen = self._call.resumes
        if seen is None or self._behind():
            return None
        # Settings, which are in `_system`, make other answers of the same flags.
        present = tokens.decode_all(self._token(), self._call.project.name)
        return feed.at(seen.vv) if seen.system == present.system else None

    def _behind(self) -> bool:
        seen = self._call.resumes
        if seen is None:
            return False
        node = self._call.node
        if self._call.project.replica.covers(seen.vv) and node.directory.system.replica.covers(seen.system):
            self._call.behind = False
            return False
        return True

    async def _wait(self, changes: Changes, timeout_s: float) -> bool:
        """Wait for something to say; False if there was nothing for ``timeout_s``."""
        if not self._behind():
            return await changes.look(timeout_s)
        seen, project = self._call.resumes, self._call.project.name
        assert seen is not None, "who is behind has said what he has seen"
        wait_for, timeout_ms = self._call.node.wait_for, timeout_s * 1000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_ended, changes, nursery.cancel_scope)
            if await wait_for(SYSTEM_PROJECT, seen.system, timeout_ms):
                await wait_for(project, seen.vv, timeout_ms)
            nursery.cancel_scope.cancel()
        return changes.ended is not None or not self._behind()

    async def _until_ended(self, changes: Changes, scope: trio.CancelScope) -> None:
        while changes.ended is None:
            await changes.feed.changed.wait()
        scope.cancel()

    def _why_not(self) -> str | None:
        call = self._call
        if not call.services.authenticator.holds(call.caller):
            return KEY_REVOKED
        return None if self._environment in call.project.environments else ENVIRONMENT_GONE


ROUTES: Final = (Route(method="GET", path="/sdk/v1/stream", handler=stream, access=READERS, resumes=True),)
