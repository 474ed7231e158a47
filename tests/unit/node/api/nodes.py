"""A whole node without sockets: the real engine on simulated disk and store, and its HTTP app asked in memory.

Time is the test's: under an autojump clock waiting costs nothing. Whatever happens, the app must not have failed: what
it logs as an error of its own is kept in ``failures``, and every test ends with none (`serving` checks it).
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from vexil.chaos.world.simulated_clock import SeededEntropy, SimulatedClock
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.crdt.change import Change, decode
from vexil.crdt.hlc import pack
from vexil.crdt.pen import Pen
from vexil.crdt.replica import Replica
from vexil.node.api.app import create_app
from vexil.node.api.bootstrap import bootstrap_owner_key
from vexil.node.api.limits import ApiLimits
from vexil.node.api.port import Links, Node
from vexil.node.engine import Engine
from vexil.node.engine_types import EngineSettings, Seams
from vexil.node.membership import begin
from vexil.node.metrics import Metrics
from vexil.node.seams import PeerAddress, PeerUnreachable

OWNER_KEY = "vxa_root_0123456789abcdef0123456789abcdef"
BOOLEAN = {"type": "boolean", "variants": {"on": True, "off": False}}


class NoPeers:
    """A network with nobody on it."""

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        await trio.lowlevel.checkpoint()
        raise PeerUnreachable("there is nobody")


@dataclass
class KeptLog:
    """A log that can be looked at."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, **facts: object) -> None:
        self.lines.append(("info", event, facts))

    def warning(self, event: str, **facts: object) -> None:
        self.lines.append(("warning", event, facts))

    def error(self, event: str, **facts: object) -> None:
        self.lines.append(("error", event, facts))

    @property
    def failures(self) -> list[tuple[str, dict[str, object]]]:
        return [(event, facts) for level, event, facts in self.lines if level == "error"]


class Reply:
    """A whole answer."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        assert self.headers["Content-Type"] == "application/problem+json", self.data
        problem = self.json
        assert problem["status"] == self.status
        assert {"type", "title", "detail", "definite"} <= problem.keys()
        code: str = problem["code"]
        return code

    def __repr__(self) -> str:
        return f"{self.status} {self.data[:300]!r}"


class Client:
    """Asks an app as a holder of one key."""

    def __init__(self, app: Any, key: str | None) -> None:
        self._client = app.test_client()
        self.key = key

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        sent = dict(headers or {})
        if self.key is not None:
            sent.setdefault("Authorization", f"Bearer {self.key}")
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        made = await self._client.open(path, method=method, headers=sent, data=data)
        return Reply(made.status_code, made.headers, await made.get_data())

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.ask("POST", path, body, **options)

    async def put(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.ask("PUT", path, body, **options)

    async def patch(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.ask("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Reply:
        return await self.ask("DELETE", path, **options)


@dataclass
class Served:
    """A node that is up: its engine, its app, and keys of every kind."""

    engine: Engine
    app: Any
    log: KeptLog
    metrics: Metrics
    disk: SimulatedDisk
    clock: SimulatedClock
    owner: Client
    nobody: Client
    server: Client
    client: Client

    def with_key(self, key: str | None) -> Client:
        return Client(self.app, key)

    async def make_key(self, **wanted: object) -> Client:
        made = await self.owner.post("/api/v1/keys", wanted)
        assert made.status == 201, made
        return self.with_key(made.json["key"])

    async def flag(self, key: str, **members: object) -> Reply:
        made = await self.owner.post("/api/v1/projects/shop/flags", {"key": key, **BOOLEAN, **members})
        assert made.status == 201, made
        return made

    async def elsewhere(self, edit: Callable[[Pen], Change], *, incarnation: int = 0x99) -> Change:
        """A change of ``shop`` made at a node in us that has everything by now, and that comes in here late.

        ``edit`` writes it with the pen of that node, before this node does anything more: call it, go on here, and
        then `arrive` it.
        """
        replica = Replica()
        project = self.engine.projects["shop"]
        rows = await self.engine.own_log.read(
            "shop", after={}, through=project.replica.vv, limit_bytes=1 << 30
        )
        for row in rows:
            replica.apply(decode(row.raw))
        return edit(Pen(replica, incarnation))

    async def arrive(self, *changes: Change) -> None:
        """Changes of other nodes come in."""
        job = await self.engine.receive(self.engine.projects["shop"], changes, "us-1", lambda: None)
        assert job.applied == len(changes)

    def later_hlc(self) -> int:
        """A stamp above all that this node has given."""
        return pack(self.clock.wall_ms() + 10_000)

    async def name_incarnation(self, incarnation: int, *, node: str, region: str) -> None:
        """Say whose an incarnation is, as its node would."""
        intent = begin(node=node, region=region, incarnation=incarnation)
        await self.engine.write("_system", lambda _: intent, author="test")

    def root_hashes(self) -> dict[str, str]:
        """What the whole node has written, to see that nothing was."""
        return {name: project.replica.vv_hash() for name, project in self.engine.projects.items()}


def make_engine(log: KeptLog, metrics: Metrics, disk: SimulatedDisk, clock: SimulatedClock) -> Engine:
    rng = random.Random(7)
    return Engine(
        EngineSettings(name="eu-1", region="eu", peer_url="p://eu-1", http_url="h://eu-1", bootstrap=True),
        Seams(
            clock=clock,
            entropy=SeededEntropy(random.Random(11)),
            transport=NoPeers(),
            store=SimulatedRegion(random.Random(13)).connect("eu-1"),
            journal=SimulatedJournal(disk),
            rng=rng,
            telemetry=metrics,
            log=log,
        ),
    )


def make_app(
    engine: Node,
    log: KeptLog,
    metrics: Metrics,
    *,
    clock: SimulatedClock,
    limits: ApiLimits | None = None,
    dev_links: Links | None = None,
) -> Any:
    return create_app(
        engine,
        clock=clock,
        entropy=SeededEntropy(random.Random(17)),
        rng=random.Random(19),
        logger=log,
        metrics=metrics,
        dev_links=dev_links,
        limits=limits,
    )


@asynccontextmanager
async def serving(*, limits: ApiLimits | None = None, dev: bool = False) -> AsyncIterator[Served]:
    """A node with the project ``shop`` (environments dev and prod) and one key of each kind for shop/prod."""
    log, metrics, disk, clock = KeptLog(), Metrics(), SimulatedDisk(random.Random(5)), SimulatedClock()
    engine = make_engine(log, metrics, disk, clock)
    metrics.watch(engine.status)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await bootstrap_owner_key(engine, OWNER_KEY, entropy=SeededEntropy(random.Random(23)))
        app = make_app(
            engine, log, metrics, clock=clock, limits=limits, dev_links=engine.links if dev else None
        )
        owner, nobody = Client(app, OWNER_KEY), Client(app, None)
        made = await owner.put("/api/v1/projects/shop", {"environments": ["dev", "prod"]})
        assert made.status == 201, made
        served = Served(engine, app, log, metrics, disk, clock, owner, nobody, nobody, nobody)
        served.server = await served.make_key(kind="server", project="shop", environment="prod")
        served.client = await served.make_key(kind="client", project="shop", environment="prod")
        yield served
        nursery.cancel_scope.cancel()
    assert log.failures == [], log.failures


def lines_of(metrics: Metrics, name: str) -> Iterator[str]:
    """The samples of one metric."""
    return (line for line in metrics.render()[0].decode().splitlines() if line.startswith(name))
