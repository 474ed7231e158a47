"""Engines for benchmarks: the production engine on real SQLite files, peers reached in this process or over HTTP."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random

import trio

from tests.benchmarks.typical_flag import FIELDS
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.pen import NEW_GENERATION, CellWrite
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.adapters.system import SystemClock, SystemEntropy
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.engine_types import EngineSettings, Seams
from vexil.node.gossip.loops import GossipSettings
from vexil.node.project import Project
from vexil.node.seams import PeerAddress, PeerIdentity, PeerTransport, PeerUnreachable
from vexil.node.telemetry import Silence

NEVER_MS = 3_600_000


class CountingTelemetry(Silence):
    """Adds up the bytes to and from peers."""

    def __init__(self) -> None:
        self.bytes: dict[tuple[str, str], int] = {}

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """See `vexil.node.telemetry.Telemetry.count_bytes`."""
        self.bytes[direction, kind] = self.bytes.get((direction, kind), 0) + count


class DelayedPeers:
    """Peers in this process, ``delay_s`` away in each direction."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.engines: dict[str, Engine] = {}

    def of(self, identity: PeerIdentity) -> PeerTransport:
        """The transport of one caller."""
        return _Caller(self, identity)


class _Caller:
    def __init__(self, peers: DelayedPeers, identity: PeerIdentity) -> None:
        self._peers = peers
        self._identity = identity

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        with trio.fail_after(timeout_ms / 1000):
            await trio.sleep(self._peers.delay_s)
            engine = self._peers.engines.get(peer.url)
            if engine is None:
                raise PeerUnreachable(peer.url)
            answer = await engine.peer_service.serve(self._identity, method, body)
            await trio.sleep(self._peers.delay_s)
            return answer


def engine_on(
    store: SqliteStore,
    *,
    name: str,
    region: str,
    transport: PeerTransport,
    seeds: tuple[str, ...] = (),
    bootstrap: bool = False,
    telemetry: Silence | None = None,
    digests: bool = True,
    peer_url: str = "",
) -> Engine:
    """An engine that is not running yet; ``peer_url`` is its name if not given. Without ``digests`` it only pushes."""
    gossip = (
        GossipSettings()
        if digests
        else GossipSettings(interval_region_ms=NEVER_MS, interval_remote_ms=NEVER_MS)
    )
    return Engine(
        EngineSettings(
            name=name,
            region=region,
            peer_url=peer_url or name,
            http_url=name,
            seeds=seeds,
            bootstrap=bootstrap,
            catch_up_ms=0,
            gossip=gossip,
        ),
        Seams(
            clock=SystemClock(),
            entropy=SystemEntropy(),
            transport=transport,
            store=store,
            journal=store,
            rng=Random(1),
            telemetry=telemetry or Silence(),
            log=Silence(),
        ),
    )


async def make_project(engine: Engine) -> Project:
    """Project `demo` with one environment, `prod`."""
    writes = [
        CellWrite("project/demo", NO_GENERATION, field, True) for field in ("exists", "environment/prod")
    ]
    await engine.write("_system", lambda _: Intent(writes), author="bench")
    project = engine.project("demo")
    assert project is not None
    return project


def create(i: int) -> Callable[[Project], Intent]:
    """Decides to create a typical flag of eight cells."""
    writes = [CellWrite(f"flag/team.feature-{i}", NEW_GENERATION, f, v) for f, v in FIELDS.items()]
    return lambda _: Intent(writes)


def toggle(i: int, *, enabled: bool) -> Callable[[Project], Intent]:
    """Decides to write two cells of flag ``i``."""

    def decide(project: Project) -> Intent:
        name = f"flag/team.feature-{i}"
        generation = next(iter(project.replica.cells(name)))
        exists = {"epoch": 1, "type": "boolean", "created": 1}
        return Intent(
            [
                CellWrite(name, generation, "exists", exists),
                CellWrite(name, generation, "env/prod/enabled", enabled),
            ]
        )

    return decide


async def write_all(engine: Engine, decisions: list[Callable[[Project], Intent]], *, writers: int) -> None:
    """Make every decision a write of project `demo`, ``writers`` at a time."""

    async def one(mine: list[Callable[[Project], Intent]]) -> None:
        for decide in mine:
            await engine.write("demo", decide, author="bench")

    async with trio.open_nursery() as nursery:
        for n in range(writers):
            nursery.start_soon(one, decisions[n::writers])


def settle() -> None:
    """What a node's process does once it is ready: its state is no business of the garbage collector."""
    gc.collect()
    gc.freeze()


def store_in(folder: Path, name: str) -> AbstractAsyncContextManager[SqliteStore]:
    """The store of one node, to be used as an async context manager."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    return SqliteStore.open(folder / name / "node.db")
