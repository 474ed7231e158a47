"""What wakes a stream: a change of its environment, however many came meanwhile, or that it has been quiet for long.

The one idea: nothing is queued for a stream. It is told that something has changed, looks at what is there now, and
while its caller does not read it misses everything in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from vexil.node.errors import ApiError
from vexil.node.feed import Feed
from vexil.node.feeds import Changes
from vexil.node.grpc.call import Call
from vexil.node.grpc.places import Place
from vexil.node.grpc.statuses import CallFailed, Code

QUIET_S: Final = 20.0
"""A stream that has had nothing to say for so long is woken."""
KIND: Final = "flagd"


class Watch:
    """One stream's view of its environment. ``seen`` is the position up to which its caller has been told."""

    def __init__(self, call: Call, changes: Changes) -> None:
        """Begins with what is there now."""
        self._call = call
        self._changes = changes
        self.seen = self.mark()

    @property
    def feed(self) -> Feed:
        """The feed that it follows."""
        return self._changes.feed

    def mark(self) -> int:
        """Take everything up to now as seen; the present position."""
        self._changes.seen = self.seen = self.feed.position.number
        return self.seen

    async def tell(self, event: str, frame: bytes) -> None:
        """Send one framed message, counted as an ``event``."""
        self._call.services.metrics.count_stream_event(KIND, event)
        await self._call.send_frame(frame)

    async def woken(self) -> bool:
        """Wait for a change (True) or for `QUIET_S`.

        Raises ApiError, CallFailed when the caller may not ask any more, or the node goes down.
        """
        changed = await self._changes.look(QUIET_S)
        self.look_again()
        return changed

    def look_again(self) -> Place:
        """The place as it is now. Raises as `woken`."""
        place = self._call.look_again()
        if self._changes.ended is not None:
            raise CallFailed(Code.UNAVAILABLE, f"this stream is over ({self._changes.ended}): come again")
        return place


@asynccontextmanager
async def watching(call: Call) -> AsyncIterator[Watch]:
    """Follow the environment of ``call``. Raises StreamsFull, NodeNotReady if no more streams are let in."""

    def why_not() -> str | None:
        try:
            call.look_again()
        except ApiError as error:
            return error.code
        except CallFailed as error:
            return error.message
        return None

    place = call.place
    feeds = call.services.node.feeds
    async with feeds.follow(place.project.name, place.environment, kind=KIND, why_not=why_not) as changes:
        try:
            yield Watch(call, changes)
        except (ApiError, CallFailed) as error:
            why = error.code if isinstance(error, ApiError) else error.code.name.lower()
            call.services.metrics.count_stream_end(KIND, changes.ended or why)
            raise
