"""Read-your-writes: waiting until the set includes a token that a write has returned.

The one idea: the stream will most often bring the write by itself within moments, so it is given those; then a node
is asked for a state that includes the token, because only a node can say so of a write that changes no flag here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

import trio

from vexil.sdk.client.asking import Asking, Fetched, NodeFailed
from vexil.sdk.client.back_off import back_off_s
from vexil.sdk.client.options import CATCH_UPS_AT_ONCE_MAX, CATCH_UPS_MAX, WAIT_MS_MAX, Options
from vexil.sdk.client.state import State
from vexil.sdk.client.tokens import Order, order

STREAM_FIRST_S: Final = 0.25
"""How long the stream is given to bring a token before a node is asked."""
_WAIT_MS_MIN: Final = 1


class Ticket:
    """One caller who waits for ``token``. ``done`` is read by another thread: it is set last."""

    __slots__ = ("_finished", "done", "reached", "timeout_s", "token")

    def __init__(self, token: str, *, timeout_s: float, finished: Callable[[], None]) -> None:
        self.token = token
        self.timeout_s = timeout_s
        self.reached = False
        self.done = False
        self._finished = finished

    def finish(self, *, reached: bool) -> None:
        """Tell the caller."""
        self.reached = reached
        self.done = True
        self._finished()


class CatchingUp:
    """Serves the tickets, a few at one time."""

    def __init__(
        self, urls: Sequence[str], *, asking: Asking, state: State, rng: random.Random, options: Options
    ) -> None:
        self._urls = list(urls)
        self._asking = asking
        self._state = state
        self._rng = rng
        self._options = options
        self._send, self._receive = trio.open_memory_channel[tuple[Ticket, float]](CATCH_UPS_MAX)

    def ask(self, ticket: Ticket) -> None:
        """Take ``ticket``; it is finished at once if too many wait."""
        try:
            self._send.send_nowait((ticket, trio.current_time() + ticket.timeout_s))
        except trio.WouldBlock:
            ticket.finish(reached=False)

    async def run(self) -> None:
        """Until it is cancelled; then whoever waits is told no."""
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(CATCH_UPS_AT_ONCE_MAX):
                    nursery.start_soon(self._serve)
        finally:
            self._send.close()
            while True:
                try:
                    self._receive.receive_nowait()[0].finish(reached=False)
                except (trio.WouldBlock, trio.EndOfChannel):
                    break

    async def _serve(self) -> None:
        while True:
            ticket, deadline = await self._receive.receive()
            reached = False
            try:
                with trio.move_on_at(deadline):
                    reached = await self._reach(ticket.token, deadline)
            finally:
                ticket.finish(reached=reached or self._includes(ticket.token))

    def _includes(self, token: str) -> bool:
        return self._state.held.token is not None and order(token, self._state.held.token) is Order.COVERS

    async def _reach(self, token: str, deadline: float) -> bool:
        with trio.move_on_after(STREAM_FIRST_S if self._state.confirmed else 0.0):
            while not self._includes(token):
                await self._state.changed.wait()
        failures = 0
        while not self._includes(token):
            first = self._state.url
            for url in sorted(self._urls, key=lambda url: url != first):
                try:
                    if await self._ask(url, token, deadline):
                        return True
                except NodeFailed as failure:
                    if failure.for_good:
                        return False
            failures += 1
            options = self._options
            await trio.sleep(
                back_off_s(
                    self._rng,
                    failures,
                    base_s=options.back_off_base_s,
                    max_s=options.behind_back_off_max_s,
                    floor_s=options.back_off_floor_s,
                )
            )
        return True

    async def _ask(self, url: str, token: str, deadline: float) -> bool:
        """Take the set of the node at ``url``, which includes ``token``, if it is not older than ours."""
        held = self._state.held
        version = held.flag_set.version if held.token else None
        wait_ms = min(WAIT_MS_MAX, max(_WAIT_MS_MIN, int((deadline - trio.current_time()) * 1000)))
        fetched = await self._asking.flags(url, token=token, version=version, wait_ms=wait_ms)
        standing = self._state.order_of(fetched.token)
        if standing is Order.OLDER:
            # It includes the token; so does ours, if it includes all of that.
            return fetched.token is not None and order(fetched.token, self._state.held.token) is Order.COVERS
        if standing is Order.UNKNOWN and not await self._includes_ours(url, fetched):
            return False
        flag_set = fetched.flag_set
        if flag_set is None:
            flag_set = self._state.held.flag_set
            if flag_set.version != version:
                return False  # the stream was faster and has brought another: ask again
        if not self._state.offer(flag_set, fetched.token):
            return False
        self._state.refresh()
        return True

    async def _includes_ours(self, url: str, fetched: Fetched) -> bool:
        """Whether the node says of the very version that it gave that our token is in it too."""
        held = self._state.held
        version = held.flag_set.version if fetched.flag_set is None else fetched.flag_set.version
        return (await self._asking.flags(url, token=held.token, version=version)).flag_set is None
