"""Connections from outside of the cluster to the nodes' HTTP interfaces, over the simulated network.

A connection is what TCP is: in order, whole or broken, and never quicker than the network. What a cut holds up comes
when it is mended, unless the client has lost its patience before. A process that is killed resets its connections; of a
machine that is gone nobody hears. A node that stands still keeps what it would send.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from random import Random
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import trio

from vexil.chaos.world.node_interface import NodeInterface
from vexil.chaos.world.process_life import ProcessDead, ProcessLife
from vexil.chaos.world.protocol_steps import CLIENT_READ
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_network import SimulatedNetwork
from vexil.chaos.world.simulated_slot import Process, Slot
from vexil.chaos.world.virtual_time import call_later
from vexil.node.api.exchange import Answer
from vexil.node.seams import PeerIdentity
from vexil.sdk.client import seams
from vexil.sdk.client.seams import AnswerTooLarge, BrokenAnswer, Unreachable

CONNECT_TIMEOUT_S: Final = 0.5
RETRANSMIT_S: Final = 0.2
"""How often what is held up by a cut is tried again."""
WINDOW_PIECES: Final = 16
"""On their way, or not taken yet: more are not sent."""
GONE: Final = 0.25
"""How often a process that dies takes its machine with it, and nothing is reset."""


class Watch(Protocol):
    """Who is told what a client meets, as it meets it."""

    def asked(self, slot: str) -> None:
        """It tries to connect."""

    def heard(self) -> None:
        """Bytes have come."""

    def streams(self, slot: str, life: ProcessLife) -> None:
        """The answer has begun that goes on."""

    def left(self) -> None:
        """That answer is over, for whatever reason."""


class Head(NamedTuple):
    """The beginning of an answer."""

    status: int
    headers: Mapping[str, str]


class _End(NamedTuple):
    """The end of it; ``broken``: before it was whole."""

    broken: bool


Item = Head | bytes | _End


class Connection:
    """One request's answer on its way to the client."""

    def __init__(self, network: SimulatedNetwork, node: PeerIdentity, client: PeerIdentity) -> None:
        """Nothing has been sent."""
        self.scope = trio.CancelScope()
        """Of whoever serves it."""
        self.open = True
        """The client has not gone away."""
        self._network = network
        self._node = node
        self._client = client
        self._on_the_way: deque[Item] = deque()
        self._arrived: deque[Item] = deque()
        self._lost = False
        self._changed = trio.Event()

    # -- the node's side

    def send(self, item: Item) -> None:
        """Put it on its way; behind what is there already."""
        if self.open and not self._lost:
            self._on_the_way.append(item)
            if len(self._on_the_way) == 1:
                self._depart()

    async def room(self) -> None:
        """Return when the client has taken enough of it."""
        while len(self._on_the_way) + len(self._arrived) >= WINDOW_PIECES:
            await self._changed.wait()

    def lose(self) -> None:
        """Nothing more arrives, and nobody is told."""
        self._lost = True

    def reset(self, rng: Random) -> None:
        """The rest is gone, in the middle of a piece as a rule; the client is told."""
        while len(self._on_the_way) > 1:
            self._on_the_way.pop()
        last = self._on_the_way[0] if self._on_the_way else None
        if isinstance(last, bytes) and last:
            self._on_the_way[0] = last[: rng.randrange(len(last))]
        self.send(_End(broken=True))
        self._lost = True

    # -- the client's side

    async def take(self) -> Item:
        """What comes next."""
        while not self._arrived:
            await self._changed.wait()
        item = self._arrived.popleft()
        self._notify()
        return item

    def close(self) -> None:
        """The client goes away; the node notices it if the network lets it."""
        self.open = False
        if not self._network.blocked(self._client, self._node):
            self.scope.cancel()

    # -- in between

    def _depart(self) -> None:
        way_s = self._network.connection_s(self._node, self._client)
        call_later(RETRANSMIT_S if way_s is None else way_s, self._arrive)

    def _arrive(self) -> None:
        if not self.open:
            return
        if self._network.blocked(self._node, self._client):
            call_later(RETRANSMIT_S, self._arrive)
            return
        self._arrived.append(self._on_the_way.popleft())
        self._notify()
        if self._on_the_way:
            self._depart()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class ClientConnections:
    """All connections of the clients of one cluster."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        """None yet."""
        self._cluster = cluster
        self._interfaces: dict[ProcessLife, NodeInterface] = {}
        self.errors: list[str] = []
        """What nodes have logged as errors of ours, until somebody takes it."""

    def transport(self, client: PeerIdentity, watch: Watch, rng: Random) -> SimulatedTransport:
        """The client's ``Transport``."""
        return SimulatedTransport(self, client, watch, rng)

    async def open(
        self, client: PeerIdentity, url: str, headers: Mapping[str, str], rng: Random
    ) -> Connection:
        """Send a request. Raises Unreachable."""
        network, parts = self._cluster.network, urlsplit(url)
        slot = self._cluster.slots.get(parts.netloc)
        node = PeerIdentity(parts.netloc, client.region) if slot is None else _identity(slot)
        way_s = network.connection_s(client, node)
        if way_s is None or rng.random() < network.faults.lose_request:
            await trio.sleep(CONNECT_TIMEOUT_S)
            raise Unreachable("no connection: it takes too long")
        await trio.sleep(way_s)
        process = None if slot is None else slot.process
        if (
            slot is None
            or process is None
            or process.nursery is None
            or not network.listens(slot.url, process.life)
        ):
            raise Unreachable("no connection: refused")
        connection = Connection(network, node, client)
        try:
            process.nursery.start_soon(self._serve, slot, process, connection, parts.path, headers, rng)
        except RuntimeError:
            # Its engine has ended by itself in this very step of the scheduler: the nursery is closed.
            raise Unreachable("no connection: refused") from None
        return connection

    async def _serve(
        self,
        slot: Slot,
        process: Process,
        connection: Connection,
        path: str,
        headers: Mapping[str, str],
        rng: Random,
    ) -> None:
        life = process.life
        try:
            with connection.scope:
                with life.step(CLIENT_READ):
                    await life.check()
                    answer = await self._interface(slot, process).get(path, headers)
                    await life.check()
                if rng.random() < self._cluster.network.faults.lose_answer:
                    connection.lose()
                connection.send(Head(answer.status, {n.lower(): v for n, v in _headers(answer).items()}))
                await self._send(life, connection, answer, rng)
        except ProcessDead:
            pass
        finally:
            if life.alive:
                connection.send(_End(broken=True))
            elif self._cluster.streams.stream("machine", slot.name, slot.starts).random() < GONE:
                connection.lose()
            else:
                connection.reset(rng)

    async def _send(self, life: ProcessLife, connection: Connection, answer: Answer, rng: Random) -> None:
        body = answer.body
        if not isinstance(body, AsyncIterator):
            connection.send(answer.encoded() if answer.status != 304 else b"")
            connection.send(_End(broken=False))
            return
        piece_s = answer.live_piece_s or CONNECT_TIMEOUT_S
        async with aclosing(body) as pieces:  # type: ignore[type-var]  # an async generator: see `Answer`
            async for piece in pieces:
                await life.check()
                with trio.move_on_after(piece_s) as taking:
                    await connection.room()
                if taking.cancelled_caught:
                    return
                connection.send(piece)
                if rng.random() < self._cluster.network.faults.truncate:
                    connection.reset(rng)
                    return
        connection.send(_End(broken=False))

    def _interface(self, slot: Slot, process: Process) -> NodeInterface:
        found = self._interfaces.get(process.life)
        if found is None:
            self._interfaces = {life: each for life, each in self._interfaces.items() if life.alive}
            rng = self._cluster.streams.stream("interface", slot.name, slot.starts)
            found = self._interfaces[process.life] = NodeInterface(
                process.engine, slot.clock, rng, lambda said: self.errors.append(f"{slot.name}: {said}")
            )
        return found

    def life_at(self, url: str) -> ProcessLife | None:
        """The process that serves ``url`` now."""
        slot = self._cluster.slots.get(urlsplit(url).netloc)
        return None if slot is None or slot.process is None else slot.process.life


class SimulatedTransport:
    """``vexil.sdk.client.seams.Transport`` of one client."""

    def __init__(
        self, connections: ClientConnections, client: PeerIdentity, watch: Watch, rng: Random
    ) -> None:
        """Made by `ClientConnections.transport`."""
        self._connections = connections
        self._client = client
        self._watch = watch
        self._rng = rng

    async def aclose(self) -> None:
        """See ``Transport``."""
        await trio.lowlevel.checkpoint()

    async def get(
        self, url: str, headers: Mapping[str, str], *, bytes_max: int, timeout_s: float
    ) -> seams.Answer:
        """See ``Transport``."""
        with trio.move_on_after(timeout_s):
            connection = await self._open(url, headers)
            try:
                head = await self._head(connection)
                stream, body = _Stream(connection, head, self._watch), b""
                while part := await stream.receive():
                    body += part
                    if len(body) > bytes_max:
                        raise AnswerTooLarge(f"an answer of more than {bytes_max} bytes")
                return seams.Answer(head.status, head.headers, body)
            finally:
                connection.close()
        raise Unreachable(f"no answer within {timeout_s:g} s")

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], *, timeout_s: float
    ) -> AsyncIterator[seams.StreamAnswer]:
        """See ``Transport``."""
        with trio.move_on_after(timeout_s) as patience:
            connection = await self._open(url, headers)
            try:
                head = await self._head(connection)
                patience.deadline = float("inf")
                life = self._connections.life_at(url)
                if head.status == 200 and life is not None:
                    self._watch.streams(urlsplit(url).netloc, life)
                yield _Stream(connection, head, self._watch)
            finally:
                connection.close()
                self._watch.left()
        if patience.cancelled_caught:
            raise Unreachable(f"no answer within {timeout_s:g} s", connected=True)

    async def _open(self, url: str, headers: Mapping[str, str]) -> Connection:
        self._watch.asked(urlsplit(url).netloc)
        return await self._connections.open(self._client, url, headers, self._rng)

    async def _head(self, connection: Connection) -> Head:
        item = await connection.take()
        self._watch.heard()
        if not isinstance(item, Head):
            raise BrokenAnswer("the connection broke before the answer")
        return item


class _Stream:
    """See ``StreamAnswer``."""

    def __init__(self, connection: Connection, head: Head, watch: Watch) -> None:
        self.status = head.status
        self.headers = head.headers
        self._connection = connection
        self._watch = watch

    async def receive(self) -> bytes:
        while True:
            item = await self._connection.take()
            self._watch.heard()
            if isinstance(item, _End):
                if item.broken:
                    raise BrokenAnswer("the connection broke")
                return b""
            if isinstance(item, bytes) and item:
                return item


def _identity(slot: Slot) -> PeerIdentity:
    return PeerIdentity(slot.member, slot.region)


def _headers(answer: Answer) -> dict[str, str]:
    return {"Content-Type": answer.content_type, **answer.headers}
