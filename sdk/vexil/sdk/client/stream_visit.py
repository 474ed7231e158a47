"""One stream of one node, from its headers to its end.

The one idea: a stream is believed only while it speaks. Every whole event or comment is a sign of life; a stream
that is silent for two heartbeats, that never finishes an event, or that says what cannot be understood is given up. A
patch that does not fit is never guessed at: the whole set is asked for instead.
"""

from __future__ import annotations

from typing import Final

import trio

from vexil.sdk.client.asking import Asking, NodeFailed
from vexil.sdk.client.event_stream import Event, EventReader
from vexil.sdk.client.messages import Nonsense, Told, json_object, patch_of, told_by_event, whole_set
from vexil.sdk.client.options import Options
from vexil.sdk.client.seams import AnswerTooLarge, StreamAnswer, TransportError
from vexil.sdk.client.state import State
from vexil.sdk.client.tokens import Order, order
from vexil.sdk.model import FlagSet

REFETCHES_MAX: Final = 3
"""Patches of one stream that fit nothing; with one more the stream is worth nothing."""


class StreamVisit:
    """Reads the stream of the node at ``url`` into ``state``."""

    def __init__(self, url: str, *, asking: Asking, state: State, options: Options) -> None:
        self._url = url
        self._asking = asking
        self._state = state
        self._options = options
        self._current = False
        """Our set is what this node had when it last spoke."""
        self._refetches = 0

    async def read(self, answer: StreamAnswer, *, resumed: bool) -> None:
        """Until the stream, which was a good one, ends. Raises NodeFailed if it was not.

        ``resumed``: the node was told what we have, so it is silent about the set only if nothing is newer.
        """
        self._current = resumed
        began = trio.current_time()
        try:
            await self._read(answer)
        except (AnswerTooLarge, NodeFailed):
            raise
        except (TransportError, Nonsense, _Silent) as error:
            reason = f"the stream is given up: {error}"
        else:
            reason = "the stream has ended"
        if not self._current or trio.current_time() - began < self._options.steady_s:
            raise NodeFailed(reason, poll=True)
        self._state.lose(f"{self._url}: {reason}", settled=False)

    async def _read(self, answer: StreamAnswer) -> None:
        options = self._options
        reader = EventReader(event_bytes_max=options.set_bytes_max)
        whole_at = trio.current_time()
        while True:
            deadline = min(trio.current_time() + options.silence_s, whole_at + options.event_timeout_s)
            chunk = None
            with trio.move_on_at(deadline):
                chunk = await answer.receive()
            if chunk is None:
                raise _Silent("it brings nothing")
            if not chunk:
                return
            for event in reader.feed(chunk):
                whole_at = trio.current_time()
                await self._handle(event, reader)

    async def _handle(self, event: Event, reader: EventReader) -> None:
        told = None
        if event.kind == "put":
            self._offer(whole_set(json_object(event.data)), event.id)
        elif event.kind == "patch":
            told = await self._patch(event)
        elif event.kind == "status":
            told = told_by_event(event.data)
            if told.behind:
                raise NodeFailed("the node is behind what is known here", behind=True)
        elif event.kind == "end":
            reason = json_object(event.data).get("reason")
            rest_s = min((reader.retry_ms or 0) / 1000, self._options.retry_after_max_s)
            raise NodeFailed(f"the node has ended the stream: {reason or 'shutdown'}", retry_after_s=rest_s)
        if self._current:
            self._state.confirm("stream", self._url, told)

    async def _patch(self, event: Event) -> Told | None:
        patch = patch_of(event.data)
        held = self._state.held
        if patch.from_version == held.flag_set.version:
            self._offer(patch.apply(held.flag_set), event.id)
            return None
        if event.id is not None and order(event.id, held.token) is Order.COVERS:
            return None  # of a past that we have overtaken by a fetch
        self._refetches += 1
        if self._refetches > REFETCHES_MAX:
            raise Nonsense("its patches do not fit")
        fetched = await self._asking.flags(self._url, token=held.token)
        assert fetched.flag_set is not None, "no version was named, so none is unchanged"
        self._offer(fetched.flag_set, fetched.token)
        return fetched.told

    def _offer(self, flag_set: FlagSet, token: str | None) -> None:
        if not self._state.offer(flag_set, token):
            raise NodeFailed("the node has gone back behind what is known here", behind=True)
        self._current = True


class _Silent(Exception):
    """The stream has stopped speaking."""
