"""One engine at a time and a world that does exactly what the test says: peers, journal, store and clocks.

What survives a process is a `Place`. The network is a switchboard in memory, where an engine or a script answers; a
`Stranger` is another node's pen, so that a test can write any change and send any bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import trio

from vexil.chaos.world.simulated_clock import SeededEntropy, SimulatedClock
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.chaos.world.simulated_store import SimulatedRegion, SimulatedStore
from vexil.crdt import hlc as hlcs
from vexil.crdt.change import NO_GENERATION, Change, decode
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.engine_types import EngineSettings, Seams, Written
from vexil.node.gossip import messages
from vexil.node.gossip.loops import GossipSettings
from vexil.node.gossip.messages import Message
from vexil.node.membership import registration
from vexil.node.project import Project
from vexil.node.seams import Journal, LogRecord, PeerAddress, PeerIdentity, PeerUnreachable, Store
from vexil.node.telemetry import Silence

NEVER_MS = 10**12
"""An interval of which even the first, shorter pause is longer than any test."""
HELD_S_MAX = 3_600
"""An append that is held for so long ends the process: a test that has failed meanwhile must end too."""
FLAG = {
    "exists": {"epoch": 1, "type": "boolean"},
    "variant/on": True,
    "variant/off": False,
    "env/prod/enabled": True,
    "env/prod/default": "on",
    "env/prod/off_variant": "off",
}
EU_2 = PeerIdentity("eu-2", "eu")
SHOP = "shop"

Script = Callable[[PeerIdentity, str, Message], Mapping[str, object]]
"""Answers a call in a peer's stead, or raises a PeerError."""


class Switchboard:
    """Who answers at which URL."""

    def __init__(self) -> None:
        self.engines: dict[str, Engine] = {}
        self.scripts: dict[str, Script] = {}
        self.calls: list[tuple[str, str, str]] = []
        """``(caller, url, method)`` of every call."""

    def of(self, identity: PeerIdentity) -> Caller:
        return Caller(self, identity)


@dataclass(frozen=True)
class Caller:
    """The transport of one node."""

    board: Switchboard
    identity: PeerIdentity

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        self.board.calls.append((self.identity.node, peer.url, method))
        await trio.sleep(0.001)
        script = self.board.scripts.get(peer.url)
        if script is not None:
            return messages.encode(script(self.identity, method, Message.decode(body)))
        engine = self.board.engines.get(peer.url)
        if engine is None:
            raise PeerUnreachable("nobody listens")
        with trio.move_on_after(timeout_ms / 1000):
            answer = await engine.peer_service.serve(self.identity, method, body)
            await trio.sleep(0.001)
            return answer
        raise PeerUnreachable("no answer in time")


class GatedJournal:
    """A journal whose appends wait for the test (``hold``) or fail (``fail``)."""

    def __init__(self, inner: Journal) -> None:
        self._inner = inner
        self._gate: trio.Event | None = None
        self._failures: list[Exception | None] = []
        self.waiting: list[Sequence[LogRecord]] = []
        """Appends that were begun and have not returned."""

    def hold(self) -> None:
        """From now on no append gets through."""
        self._gate = trio.Event()

    def let_go(self) -> None:
        """What waits goes on, and whatever comes after."""
        assert self._gate is not None
        self._gate.set()
        self._gate = None

    def fail(self, error: Exception, *, after: int = 0) -> None:
        """The append behind ``after`` successful ones fails."""
        self._failures = [*[None] * after, error]

    async def append(self, records: Sequence[LogRecord]) -> None:
        self.waiting.append(records)
        try:
            if self._gate is not None:
                with trio.fail_after(HELD_S_MAX):
                    await self._gate.wait()
            error = self._failures.pop(0) if self._failures else None
            if error is not None:
                await trio.lowlevel.checkpoint()
                raise error
            await self._inner.append(records)
        finally:
            self.waiting.remove(records)

    def replay(self, *, after: Mapping[str, Mapping[int, int]]) -> AsyncGenerator[Sequence[LogRecord]]:
        return self._inner.replay(after=after)

    async def read_changes(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        return await self._inner.read_changes(project, after=after, through=through, limit_bytes=limit_bytes)

    async def trim(self, project: str, through: Mapping[int, int]) -> None:
        await self._inner.trim(project, through)


class Embedded(SimulatedStore):
    """A store of the node's own disk: its journal's records are its rows, and nobody else's store has them."""

    kind = "embedded"
    shares_journal = True
    durability = "node"

    async def append(self, records: Sequence[LogRecord]) -> None:
        """`Journal.append`."""
        await super().write_changes(records)

    async def write_changes(self, records: Sequence[LogRecord]) -> None:
        raise AssertionError("the engine never calls this on a store that shares the journal")

    async def replay(self, *, after: Mapping[str, Mapping[int, int]]) -> AsyncGenerator[Sequence[LogRecord]]:
        """`Journal.replay`."""
        for project in await self.log_projects():
            rows = self._region.log.whole(project)
            yield [r for r in rows if r.seq > after.get(project, {}).get(r.incarnation, 0)]

    async def trim(self, project: str, through: Mapping[int, int]) -> None:
        """`Journal.trim`: the rows are the store's, which trims them."""


@dataclass
class Kept(Silence):
    """Telemetry and log that remember what the tests ask for."""

    errors: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    suspects: int = 0
    journal_full: int = 0
    payload_sent: int = 0

    def error(self, event: str, **facts: object) -> None:
        self.errors.append((event, facts))

    def count_aside(self, reason: str) -> None:
        self.aside.append(reason)

    def count_clock_suspect(self, region: str) -> None:
        self.suspects += 1

    def count_journal_full(self) -> None:
        self.journal_full += 1

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        if (direction, kind) == ("sent", "payload"):
            self.payload_sent += count


class Place:
    """A node's name, disk, clock and region: what its processes have in common."""

    def __init__(
        self,
        name: str = "eu-1",
        *,
        board: Switchboard | None = None,
        region: SimulatedRegion | None = None,
        embedded: bool = False,
        seeds: tuple[str, ...] = (),
        digests: bool = False,
    ) -> None:
        """Without ``digests`` the node only pushes. ``embedded``: journal and store are one."""
        self.name = name
        self.board = board if board is not None else Switchboard()
        self.clock = SimulatedClock()
        self.disk = SimulatedDisk(Random(5))
        self.region = region if region is not None else SimulatedRegion(Random(13))
        self.seeds = seeds
        self._embedded = embedded
        self._gossip = GossipSettings() if digests else GossipSettings(NEVER_MS, NEVER_MS)
        self._starts = 0
        self.journal = GatedJournal(SimulatedJournal(self.disk))
        self.kept = Kept()

    @property
    def identity(self) -> PeerIdentity:
        return PeerIdentity(self.name, self.name.partition("-")[0])

    def store(self) -> Store:
        return Embedded(self.region, self.name) if self._embedded else self.region.connect(self.name)

    def engine(self, *, store: Store | None = None, journal: Journal | None = None) -> Engine:
        """A new process, not running yet."""
        self._starts += 1
        own = self.store() if store is None else store
        if journal is None:
            journal = own if isinstance(own, Embedded) else SimulatedJournal(self.disk)
        self.journal = GatedJournal(journal)
        self.kept = Kept()
        engine = Engine(
            EngineSettings(
                name=self.name,
                region=self.identity.region,
                peer_url=f"p://{self.name}",
                http_url=f"h://{self.name}",
                seeds=self.seeds,
                bootstrap=not self.seeds,
                gossip=self._gossip,
            ),
            Seams(
                clock=self.clock,
                entropy=SeededEntropy(Random(f"{self.name}/{self._starts}")),
                transport=self.board.of(self.identity),
                store=own,
                journal=self.journal,
                rng=Random(7),
                telemetry=self.kept,
                log=self.kept,
            ),
        )
        self.board.engines[f"p://{self.name}"] = engine
        return engine


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Engine]:
    """The engine, ready; killed at the end. Of a group of one error that error is raised."""
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            yield engine
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole(group) from None


def sole(error: BaseException) -> BaseException:
    """The one error in a group of groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def node(place: Place | None = None) -> AsyncIterator[tuple[Place, Engine]]:
    """A node that is up, with the project ``shop``; ``eu-2`` is a member that nothing listens for."""
    there = Place() if place is None else place
    async with running(there.engine()) as engine:
        await make_shop(engine)
        yield there, engine


async def make_shop(engine: Engine, *, members: Sequence[PeerIdentity] = (EU_2,)) -> Project:
    """The project ``shop`` with the environment ``prod``, and members that the test plays itself."""
    writes = [CellWrite("project/shop", NO_GENERATION, f, True) for f in ("exists", "environment/prod")]
    await engine.write("_system", lambda _: Intent(writes), author="test")
    for member in members:
        await register(engine, member)
    project = engine.project(SHOP)
    assert project is not None
    return project


async def register(engine: Engine, member: PeerIdentity) -> None:
    """Make ``member`` one, as its sponsor would."""
    await engine.write(
        "_system",
        lambda _: registration(
            engine.directory,
            node=member.node,
            region=member.region,
            peer_url=f"p://{member.node}",
            http_url=f"h://{member.node}",
        ),
        author="test",
    )


def shop(engine: Engine) -> Project:
    return engine.projects[SHOP]


def flag_writes(key: str, **fields: object) -> list[CellWrite]:
    return [CellWrite(f"flag/{key}", NEW_GENERATION, f, v) for f, v in {**FLAG, **fields}.items()]


def creates(key: str, **fields: object) -> Callable[[Project], Intent]:
    """Decides to create a flag."""
    return lambda _: Intent(flag_writes(key, **fields))


def sets(key: str, name: str, value: object) -> Callable[[Project], Intent]:
    """Decides to write one field of a flag that is there, and touch its existence."""

    def decide(project: Project) -> Intent:
        state = project.flag(key)
        assert state is not None
        name_of = f"flag/{key}"
        return Intent(
            [
                CellWrite(name_of, state.generation, "exists", FLAG["exists"]),
                CellWrite(name_of, state.generation, name, value),
            ]
        )

    return decide


async def write(engine: Engine, decide: Callable[[Project], Intent], **options: object) -> Written:
    return await engine.write(SHOP, decide, author="ada", **options)  # type: ignore[arg-type]


class Stranger:
    """Another process's pen on its own copy of one project."""

    def __init__(self, incarnation: int = 0x99, *, hlc_ms: int = 1_700_000_000_000) -> None:
        self.replica = Replica()
        self.pen = Pen(self.replica, incarnation)
        self.log: list[Change] = []
        self._hlc = hlcs.pack(hlc_ms)

    async def follow(self, engine: Engine, project: str = SHOP) -> Stranger:
        """Take all that ``engine`` has."""
        rows = await engine.own_log.read(
            project, after=self.replica.vv, through=engine.projects[project].replica.vv, limit_bytes=1 << 30
        )
        for row in rows:
            self.replica.apply(decode(row.raw))
        self.pen.rewind()
        return self

    def write(self, writes: Sequence[CellWrite], *, idempotency: tuple[str, bytes] | None = None) -> Change:
        """Write and keep one change."""
        self._hlc += 1
        change = self.pen.write(writes, hlc=self._hlc, author="stranger", idempotency=idempotency)
        self.replica.apply(change)
        self.log.append(change)
        return change

    def create(self, key: str, **fields: object) -> Change:
        return self.write(flag_writes(key, **fields))


async def push(
    engine: Engine,
    raws: Sequence[bytes | Change],
    *,
    project: str = SHOP,
    caller: PeerIdentity = EU_2,
    registration: str = "",
    more: bool = False,
) -> Message:
    """Push as ``caller``, under its ``registration``; the answer. Raises PeerRefused."""
    encoded = [raw if isinstance(raw, bytes) else raw.raw for raw in raws]
    body = messages.encode({"as": registration, "changes": {project: encoded}, "more": more})
    return Message.decode(await engine.peer_service.serve(caller, "push", body))


def taking(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
    """A script of a peer that takes every push and says so; asked for anything else it has nothing."""
    have = {}
    for project, raws in message.changes_by_project("changes").items() if method == "push" else ():
        have[project] = messages.flat_vv({c.incarnation: c.seq for c in map(decode, raws)})
    return {"have": have, "gaps": [], "projects": {}, "ages": {}, "wall_ms": 0, "pulling": [], "changes": []}


def deaf(caller: PeerIdentity, method: str, message: Message) -> Mapping[str, object]:
    """A script of a peer that answers, but never has anything of ours."""
    return {"have": {}, "gaps": [], "projects": {}, "ages": {}, "wall_ms": 0, "pulling": [], "changes": []}


async def hear(engine: Engine, caller: PeerIdentity = EU_2, *, clock_ahead_ms: int = 0) -> None:
    """``caller`` sends a digest, so that the node knows that it lives and how its clock stands."""
    told = {"wall_ms": engine.wall_ms() + clock_ahead_ms, "ages": {}, "projects": {}}
    await engine.peer_service.serve(caller, "digest", messages.encode(told))


async def pull(
    engine: Engine,
    vv: Mapping[int, int],
    *,
    skip: Sequence[int] = (),
    page_bytes: int = messages.PAGE_BYTES,
) -> list[bytes]:
    """One page of ``shop``, pulled as eu-2."""
    asked = {"project": SHOP, "vv": messages.flat_vv(vv), "skip": list(skip), "page_bytes": page_bytes}
    body = messages.encode(asked)
    answer = Message.decode(await engine.peer_service.serve(EU_2, "pull", body))
    return answer.changes("changes")


State = dict[str, tuple[dict[int, int], str]]


def state_of(engine: Engine) -> State:
    """Vector and root hash of every project that has changes."""
    return {
        name: (dict(project.replica.vv), project.replica.root_hash())
        for name, project in engine.projects.items()
        if project.replica.vv
    }


def check_roots(engine: Engine) -> None:
    """The incremental root hash is that of the cells."""
    for project in engine.projects.values():
        assert project.replica.root == project.replica.recomputed_root(), project.name
