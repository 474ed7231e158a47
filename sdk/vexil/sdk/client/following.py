"""Following the nodes for as long as the client lives: which node, by stream or by polls, and when again.

The one idea is one rule: take the first node, in the order of preference, that is not resting. A node that fails
rests for a jittered, bounded, growing time; that is fail-over, back-off and the way back to a better node at once.
Nothing that a node does ends the loop.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import trio

from vexil.sdk.client.asking import Asking, NodeFailed
from vexil.sdk.client.back_off import around_s, back_off_s
from vexil.sdk.client.options import Options
from vexil.sdk.client.seams import AnswerTooLarge
from vexil.sdk.client.state import State
from vexil.sdk.client.stream_visit import StreamVisit

_log = logging.getLogger("vexil.sdk")


@dataclass(slots=True)
class _Node:
    url: str
    failures: int = 0
    rests_until: float = 0.0
    tried: bool = False


class Following:
    """Keeps the set of ``state`` what the first reachable node of ``urls`` has."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        asking: Asking,
        state: State,
        rng: random.Random,
        options: Options,
        poll_s: float,
    ) -> None:
        self._nodes = [_Node(url) for url in urls]
        self._asking = asking
        self._state = state
        self._rng = rng
        self._options = options
        self._poll_s = poll_s

    async def run(self) -> NoReturn:
        """Until it is cancelled."""
        while True:
            node = await self._next_node()
            node.tried = True
            try:
                await self._visit(node)
            except NodeFailed as failure:
                self._rest(node, failure)
            except Exception as error:  # noqa: BLE001 - an error of ours ends this try, not the following
                _log.exception("following %s failed", node.url)
                self._rest(node, NodeFailed(f"internal error: {type(error).__name__}"))
            else:
                node.failures = 0
                await self._part()

    async def _part(self) -> None:
        """Wait for a little: whoever was on the node that was just lost has lost it in the same moment."""
        await trio.sleep(back_off_s(self._rng, 0, base_s=self._options.back_off_base_s, **self._bounds))

    # -- which node

    @property
    def _bounds(self) -> dict[str, float]:
        return {"max_s": self._options.back_off_max_s, "floor_s": self._options.back_off_floor_s}

    async def _next_node(self) -> _Node:
        while True:
            now = trio.current_time()
            for node in self._nodes:
                if node.rests_until <= now:
                    return node
            await trio.sleep_until(min(node.rests_until for node in self._nodes))

    def _rest(self, node: _Node, failure: NodeFailed) -> None:
        options = self._options
        node.failures += 1
        rest_s = back_off_s(
            self._rng,
            node.failures,
            base_s=options.back_off_base_s,
            max_s=options.behind_back_off_max_s if failure.behind else options.back_off_max_s,
            floor_s=options.back_off_floor_s,
            retry_after_s=failure.retry_after_s,
        )
        node.rests_until = trio.current_time() + rest_s
        _log.debug("%s: %s; it rests for %.1f s", node.url, failure.reason, rest_s)
        self._state.lose(f"{node.url}: {failure.reason}", settled=all(each.tried for each in self._nodes))

    # -- one node

    async def _visit(self, node: _Node) -> None:
        """Be with ``node`` for as long as it is good, and return when it is time for something else."""
        if self._options.stream:
            try:
                await self._follow_stream(node)
                return
            except NodeFailed as failure:
                if not failure.poll:
                    raise
                _log.info("%s: no stream (%s); polling", node.url, failure.reason)
        await self._poll(node)

    async def _poll(self, node: _Node) -> None:
        until = trio.current_time() + around_s(self._rng, self._options.stream_retry_s)
        while True:
            await self._fetch(node)
            node.failures = 0
            pause_s = around_s(self._rng, self._poll_s)
            if trio.current_time() + pause_s >= until:
                return
            await trio.sleep(pause_s)

    async def _fetch(self, node: _Node) -> None:
        held = self._state.held
        version = held.flag_set.version if held.token else None
        fetched = await self._asking.flags(node.url, token=held.token, version=version)
        if not self._state.offer(fetched.flag_set or self._state.held.flag_set, fetched.token):
            raise NodeFailed("the node has gone back behind what is known here", behind=True)
        self._state.confirm("poll", node.url, fetched.told)

    async def _follow_stream(self, node: _Node) -> None:
        held = self._state.held
        token = held.token
        version = held.flag_set.version if token else None
        failure: NodeFailed | None = None
        async with self._asking.stream(node.url, token=token, version=version) as answer:
            visit = StreamVisit(node.url, asking=self._asking, state=self._state, options=self._options)
            async with trio.open_nursery() as nursery:
                if node is not self._nodes[0]:
                    nursery.start_soon(self._look_for_better, node, nursery.cancel_scope)
                try:
                    await visit.read(answer, resumed=token is not None)
                except (NodeFailed, AnswerTooLarge) as error:  # past the nursery, which would wrap it
                    failure = error if isinstance(error, NodeFailed) else NodeFailed(str(error))
                nursery.cancel_scope.cancel()
        if failure is not None:
            self._state.lose(f"{node.url}: {failure.reason}", settled=False)
            if not failure.behind:
                await self._part()
            raise failure

    async def _look_for_better(self, node: _Node, scope: trio.CancelScope) -> None:
        """End the stream of ``node`` once a node before it can do its work."""
        better = self._nodes[: self._nodes.index(node)]
        while True:
            await trio.sleep(around_s(self._rng, self._options.return_after_s))
            for other in better:
                held = self._state.held
                try:
                    await self._asking.flags(other.url, token=held.token, version=held.flag_set.version)
                except NodeFailed:
                    continue
                other.failures, other.rests_until = 0, 0.0
                scope.cancel()
                return
