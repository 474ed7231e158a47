"""The logic of a client as one task: files first, then the nodes, until it is cancelled.

It is made of parts that share one ``State``; whatever happens in one of them ends in a status, never in the others.
On seams only, so that it runs on virtual time as well as in the background thread of a service.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from vexil.sdk.client.asking import Asking
from vexil.sdk.client.catching_up import CatchingUp, Ticket
from vexil.sdk.client.following import Following
from vexil.sdk.client.keeping import Keeping
from vexil.sdk.client.options import Options
from vexil.sdk.client.seams import Clock, Disk, Transport
from vexil.sdk.client.state import Held, Publication, State


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything through which a client meets the world. Made anew for each run: nothing of it crosses a fork."""

    transport: Transport
    clock: Clock
    rng: random.Random
    cache: Disk | None
    bootstrap: Disk | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a client is to do. No ``urls``: stay offline."""

    urls: Sequence[str]
    key: str = field(repr=False)
    poll_s: float
    options: Options


class Core:
    """One run. To be made inside trio."""

    def __init__(
        self, plan: Plan, world: World, *, held: Held, publish: Callable[[Publication], None]
    ) -> None:
        self._plan = plan
        self._world = world
        self._state = State(held, clock=world.clock, publish=publish)
        asking = Asking(key=plan.key, transport=world.transport, options=plan.options)
        self._catching_up = CatchingUp(
            plan.urls, asking=asking, state=self._state, rng=world.rng, options=plan.options
        )
        self._following = Following(
            plan.urls,
            asking=asking,
            state=self._state,
            rng=world.rng,
            options=plan.options,
            poll_s=plan.poll_s,
        )
        self._keeping = Keeping(
            cache=world.cache,
            bootstrap=world.bootstrap,
            key=plan.key,
            state=self._state,
            rng=world.rng,
            options=plan.options,
        )

    def catch_up(self, ticket: Ticket) -> None:
        """Finish ``ticket`` once the set includes its token, or its time is up. Inside the run only."""
        if self._plan.urls:
            self._catching_up.ask(ticket)
        else:
            ticket.finish(reached=False)

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            self._state.begin()
            if self._state.held.source == "none":
                await self._keeping.load()
            if not self._plan.urls:
                self._state.stay_offline()
                await trio.sleep_forever()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keeping.run)
                nursery.start_soon(self._catching_up.run)
                nursery.start_soon(self._following.run)
        finally:
            with trio.move_on_after(1.0, shield=True):
                await self._world.transport.aclose()
