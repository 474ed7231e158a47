"""What an engine is made from, and what it answers: plain values beside the one class that uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from vexil.crdt.change import Dot
from vexil.node.feeds import STREAMS_MAX
from vexil.node.gossip.loops import GossipSettings
from vexil.node.seams import Archive, Clock, Entropy, Journal, PeerTransport, Store
from vexil.node.telemetry import Log, Telemetry

CLOCK_SKEW_LIMIT_MS = 60_000
CATCH_UP_MS = 2_000
GARBAGE_INTERVAL_MS = 10_000
"""Between two rounds of collecting garbage, about."""
LOG_RETENTION_DAYS = 90
"""So long a row of the log is kept at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What a node is told about itself."""

    name: str
    region: str
    peer_url: str
    http_url: str
    seeds: tuple[str, ...] = ()
    bootstrap: bool = False
    """Exactly one node of a cluster may make the cluster from nothing."""
    clock_skew_limit_ms: int = CLOCK_SKEW_LIMIT_MS
    catch_up_ms: int = CATCH_UP_MS
    log_retention_days: int = LOG_RETENTION_DAYS
    """What is older, and is at every member, may go from the log; the past that follows a snapshot ends there too."""
    gossip: GossipSettings = field(default_factory=GossipSettings)
    garbage_interval_ms: int = GARBAGE_INTERVAL_MS
    streams_max: int = STREAMS_MAX
    """Of all kinds together."""


@dataclass(frozen=True, slots=True)
class Written:
    """A write's outcome. ``change_id`` is None if there was nothing to write; ``token`` covers the write."""

    change_id: str | None
    hlc: int | None
    durability: str
    dot: Dot | None
    token: Mapping[int, int]
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """The world, as the engine meets it."""

    clock: Clock
    entropy: Entropy
    transport: PeerTransport
    store: Store
    journal: Journal
    rng: Random
    telemetry: Telemetry
    log: Log
    archives: Sequence[Archive] = ()
    """What this slot's earlier registrations have left, oldest first, until all of it has come back under this one."""


class MustReturn(Exception):
    """The engine has ended: this state is no member's any more, and the node goes on from an empty one.

    ``registration`` is whose state it was. ``keep``: it may hold what nobody else has, so it is kept as an archive;
    else it only came from a sponsor.
    """

    def __init__(self, reason: str, *, registration: str, keep: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.registration = registration
        self.keep = keep
