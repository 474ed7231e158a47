"""What a client holds, and the one place where another set may take its place.

The one idea: never back in time. A set is replaced by one that is not older by its token, or by one of a node that
has said that it is not behind; whoever only lost his node keeps what he has, and says since when it may be stale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import trio

from vexil.sdk.client.messages import Told
from vexil.sdk.client.options import ERROR_CHARACTERS_MAX
from vexil.sdk.client.seams import Clock
from vexil.sdk.client.status import Connection, Source, Status
from vexil.sdk.client.tokens import Order, is_sendable, order
from vexil.sdk.model import FlagSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a client answers from: one value, so that nobody ever sees half of a change."""

    flag_set: FlagSet
    source: Source = "none"
    token: str | None = None
    confirmed_at_s: float | None = None
    """When a node last said that nothing newer exists, by this machine's clock."""


class Publication(NamedTuple):
    """What the logic hands out whenever something is different."""

    held: Held
    status: Status
    settled: bool
    """A node has confirmed the set, or every node was tried in vain once."""


class State:
    """Owned by the trio run. Everything that it changes is published before the method returns."""

    def __init__(self, held: Held, *, clock: Clock, publish: Callable[[Publication], None]) -> None:
        self.held = held
        self.changed = trio.Event()
        """Set, and replaced, at every publication."""
        self._clock = clock
        self._publish = publish
        self._began_at_s = clock.now_s()
        self._connection: Connection = "starting"
        self._confirmed = False
        self._settled = False
        self._told = Told()
        self._region_stale_at_s: float | None = None
        self._url: str | None = None
        self._error: str | None = None
        self._snapshot_error: str | None = None

    # -- the set

    def order_of(self, token: str | None) -> Order:
        """How the state of ``token`` stands to ours."""
        return order(self.held.token, token)

    def offer(self, flag_set: FlagSet, token: str | None) -> bool:
        """Take ``flag_set``, which came from a node that is not behind; False, and nothing, if it is older than ours.

        A set without a token keeps ours: the node has said that it includes it. So does one whose token cannot stand
        in a header: kept, it would shut us out from every node, and from the disk once more after the next start.
        """
        if not is_sendable(token):
            token = None
        if self.order_of(token) is Order.OLDER:
            return False
        if flag_set.version and flag_set.version == self.held.flag_set.version and self.held.token:
            flag_set = self.held.flag_set  # what is compiled of it is kept
        self.held = replace(self.held, flag_set=flag_set, token=token or self.held.token, source="node")
        return True

    def begin(self) -> None:
        """Say how it is before anybody was asked."""
        self._tell()

    def load(self, held: Held) -> None:
        """Take what a file had, unless a node has been faster."""
        if self.held.source != "node":
            self.held = held
            self._tell()

    # -- the nodes

    def confirm(self, connection: Connection, url: str, told: Told | None = None) -> None:
        """The node at ``url`` says that our set is what it has."""
        self.held = replace(self.held, source="node", confirmed_at_s=self._clock.now_s())
        if told is not None:
            self._hear(told)
        self._connection, self._url, self._error = connection, url, None
        self._confirmed = self._settled = True
        self._tell()

    def refresh(self) -> None:
        """Some node has just given the set; whether one goes on confirming it is not said by that."""
        self.held = replace(self.held, confirmed_at_s=self._clock.now_s())
        self._tell()

    def lose(self, error: str, *, settled: bool) -> None:
        """No node confirms the set now. ``settled``: every one was tried."""
        self._connection, self._error = "retrying", error[:ERROR_CHARACTERS_MAX]
        self._confirmed = False
        self._settled = self._settled or settled
        self._tell()

    def stay_offline(self) -> None:
        """Nobody will be asked."""
        self._connection, self._settled = "offline", True
        self._tell()

    def blame_file(self, error: str | None) -> None:
        """Say what is wrong with a file of ours; None: nothing any more."""
        error = None if error is None else error[:ERROR_CHARACTERS_MAX]
        if error != self._snapshot_error:
            self._snapshot_error = error
            self._tell()

    @property
    def confirmed(self) -> bool:
        """Whether a node confirms the set now."""
        return self._confirmed

    @property
    def url(self) -> str | None:
        """The node that confirmed it last."""
        return self._url

    def _hear(self, told: Told) -> None:
        if not told.stale:
            self._region_stale_at_s = None
        elif self._region_stale_at_s is None:
            self._region_stale_at_s = self._clock.now_s()
        if told.node is None:
            told = replace(told, node=self._told.node, region=self._told.region)
        self._told = told

    def _stale_since(self) -> float | None:
        if self.held.source == "none":
            return None
        if not self._confirmed:
            return self._began_at_s if self.held.confirmed_at_s is None else self.held.confirmed_at_s
        if not self._told.stale:
            return None
        known = [self._told.as_of.get(region) for region in self._told.stale]
        return min((at for at in known if at is not None), default=self._region_stale_at_s)

    def _tell(self) -> None:
        held, told = self.held, self._told
        status = Status(
            ready=held.source != "none",
            source=held.source,
            connection=self._connection,
            stale_since=self._stale_since(),
            stale_regions=told.stale,
            as_of=dict(told.as_of),
            url=self._url,
            node=told.node,
            region=told.region,
            version=held.flag_set.version,
            token=held.token,
            error=self._error,
            snapshot_error=self._snapshot_error,
        )
        self._publish(Publication(held, status, self._settled))
        self.changed.set()
        self.changed = trio.Event()
