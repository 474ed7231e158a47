"""What an engine is made from, and what it answers: plain values beside the one class that uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from vexil.crdt.change import Dot
from vexil.node.gossip.loops import GossipSettings
from vexil.node.seams import Clock, Entropy, Journal, PeerTransport, Store
from vexil.node.telemetry import Log, Telemetry

CLOCK_SKEW_LIMIT_MS = 60_000
CATCH_UP_MS = 2_000


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
    gossip: GossipSettings = field(default_factory=GossipSettings)


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
