"""A simulated network between engines: messages take time, get lost, come twice, overtake each other.

A call is a request that travels, a handler that runs in the *called* process, and an answer that travels back. The
three are apart: a caller that gave up or died may still have been heard, and a lost answer is not a lost request.
Cuts are one-way and are looked at when a message arrives, so one that is on its way is caught as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

import trio

from vexil.chaos.process_life import ProcessDead, ProcessLife
from vexil.chaos.trace import Trace
from vexil.node.seams import PeerAddress, PeerHandler, PeerIdentity, PeerRefused, PeerUnreachable

FRAME_BYTES_MAX: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """How the network misbehaves. Probabilities are per message, in 0…1; the defaults are a sound network.

    Latencies are drawn evenly and for each message anew, so messages overtake each other.
    """

    region_ms_min: float = 0.2
    region_ms_max: float = 1.0
    remote_ms_min: float = 20.0
    remote_ms_max: float = 80.0
    slow: float = 0.0
    """The message takes up to ``slow_ms_max`` longer."""
    slow_ms_max: float = 3_000.0
    lose_request: float = 0.0
    """The request never arrives; the caller finds out by its time-out."""
    lose_answer: float = 0.0
    """The request is handled, its answer never arrives."""
    duplicate_request: float = 0.0
    """The request is handled once more, at another moment; that answer goes nowhere."""
    narrow: float = 0.0
    """A link (from one node to another, for good) is narrow: ``bytes_per_s``, each message by itself."""
    bytes_per_s: float = 1_000_000.0


@dataclass(slots=True)
class _Endpoint:
    identity: PeerIdentity
    handler: PeerHandler
    nursery: trio.Nursery
    life: ProcessLife


@dataclass(slots=True)
class _Call:
    """What the caller waits for."""

    done: trio.Event = field(default_factory=trio.Event)
    answer: bytes | None = None
    error: Exception | None = None
    given_up: bool = False
    """The caller has closed the connection: what is not through a narrow link by then never arrives."""

    def finish(self, answer: bytes | None, error: Exception | None) -> None:
        self.answer, self.error = answer, error
        self.done.set()


class SimulatedNetwork:
    """All links of one cluster. ``faults`` may be replaced at any time, for a phase of calm."""

    def __init__(
        self, rng: Random, nursery: trio.Nursery, trace: Trace, faults: NetworkFaults | None = None
    ) -> None:
        """A network without cuts; messages travel in ``nursery``, which outlives every process."""
        self.rng = rng
        self.faults = faults if faults is not None else NetworkFaults()
        self._nursery = nursery
        self._trace = trace
        self._endpoints: dict[str, _Endpoint] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._refusals: set[tuple[str, str]] = set()
        self._narrow: dict[tuple[str, str], bool] = {}

    # -- who listens

    def attach(
        self, url: str, identity: PeerIdentity, handler: PeerHandler, nursery: trio.Nursery, life: ProcessLife
    ) -> None:
        """A process listens at ``url``; what it is asked runs in its own ``nursery``."""
        self._endpoints[url] = _Endpoint(identity, handler, nursery, life)

    def detach(self, url: str, life: ProcessLife) -> None:
        """The process ``life`` listens no more; nothing if another one has taken its place."""
        endpoint = self._endpoints.get(url)
        if endpoint is not None and endpoint.life is life:
            del self._endpoints[url]

    def transport(self, identity: PeerIdentity, life: ProcessLife) -> SimulatedTransport:
        """The calling side of one process."""
        return SimulatedTransport(self, identity, life)

    # -- cuts

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from the place ``source`` to ``target`` any more; a place is a node or a region."""
        self._cuts.add((source, target))

    def refuse(self, source: str, target: str) -> None:
        """The place ``source`` can open no connection to ``target``; it may still be called by it, and answer."""
        self._refusals.add((source, target))

    def mend_all(self) -> None:
        """No cuts, no refusals."""
        self._cuts.clear()
        self._refusals.clear()

    def blocked(self, source: PeerIdentity, target: PeerIdentity) -> bool:
        """Whether messages from ``source`` to ``target`` are dropped."""
        return _among(self._cuts, source, target)

    # -- messages

    def begin(self, source: PeerIdentity, url: str, method: str, body: bytes) -> _Call:
        """Put a request on its way."""
        call = _Call()
        faults = self.faults
        if self.rng.random() >= faults.lose_request:
            self._nursery.start_soon(self._travel, source, url, method, body, call)
        if self.rng.random() < faults.duplicate_request:
            self._nursery.start_soon(self._travel, source, url, method, body, _Call())
        return call

    async def _travel(self, source: PeerIdentity, url: str, method: str, body: bytes, call: _Call) -> None:
        listening = self._endpoints.get(url)
        await trio.sleep(self._latency_s(source, None if listening is None else listening.identity))
        transfer_s = 0.0 if listening is None else self._transfer_s(source, listening.identity, len(body))
        if transfer_s:
            await trio.sleep(transfer_s)
            if call.given_up:
                return
        endpoint = self._endpoints.get(url)
        if endpoint is None or not endpoint.life.alive or _among(self._refusals, source, endpoint.identity):
            self._trace.add("refused", source.node, url, method)
            call.finish(None, PeerUnreachable("nobody listens"))
        elif not self.blocked(source, endpoint.identity):
            self._trace.add("message", source.node, endpoint.identity.node, method, len(body))
            endpoint.nursery.start_soon(self._handle, endpoint, source, method, body, call)

    async def _handle(
        self, endpoint: _Endpoint, source: PeerIdentity, method: str, body: bytes, call: _Call
    ) -> None:
        answer: bytes | None = None
        refusal: PeerRefused | None = None
        try:
            answer = await endpoint.handler(source, method, body)
            assert len(answer) <= FRAME_BYTES_MAX, "an answer is over the frame limit"
        except PeerRefused as error:
            refusal = error
        except ProcessDead:
            return
        if endpoint.life.alive and self.rng.random() >= self.faults.lose_answer:
            self._nursery.start_soon(self._return, endpoint.identity, source, method, answer, refusal, call)

    async def _return(
        self,
        source: PeerIdentity,
        target: PeerIdentity,
        method: str,
        answer: bytes | None,
        refusal: PeerRefused | None,
        call: _Call,
    ) -> None:
        await trio.sleep(
            self._latency_s(source, target) + self._transfer_s(source, target, len(answer or b""))
        )
        if not self.blocked(source, target):
            size = refusal.code if refusal is not None else len(answer or b"")
            self._trace.add("answer", source.node, target.node, method, size)
            call.finish(answer, refusal)

    def _latency_s(self, source: PeerIdentity, target: PeerIdentity | None) -> float:
        faults = self.faults
        if target is None or target.region == source.region:
            ms = self.rng.uniform(faults.region_ms_min, faults.region_ms_max)
        else:
            ms = self.rng.uniform(faults.remote_ms_min, faults.remote_ms_max)
        if self.rng.random() < faults.slow:
            ms += self.rng.uniform(0, faults.slow_ms_max)
        return ms / 1000

    def _transfer_s(self, source: PeerIdentity, target: PeerIdentity, size: int) -> float:
        """How long a message of ``size`` bytes takes because of its size."""
        faults = self.faults
        if not faults.narrow:
            return 0.0
        link = (source.node, target.node)
        if link not in self._narrow:
            self._narrow[link] = self.rng.random() < faults.narrow
        return size / faults.bytes_per_s if self._narrow[link] else 0.0


def _among(pairs: set[tuple[str, str]], source: PeerIdentity, target: PeerIdentity) -> bool:
    return bool(pairs) and any((a, b) in pairs for a in source for b in target)


class SimulatedTransport:
    """``PeerTransport`` of one process."""

    def __init__(self, network: SimulatedNetwork, identity: PeerIdentity, life: ProcessLife) -> None:
        """Made by `SimulatedNetwork.transport`."""
        self._network = network
        self._identity = identity
        self._life = life

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        """``PeerTransport.call``. Raises ProcessDead if the calling process is killed meanwhile."""
        assert len(body) <= FRAME_BYTES_MAX, "a request is over the frame limit"
        await self._life.check()
        call = self._network.begin(self._identity, peer.url, method, body)
        try:
            with trio.move_on_after(timeout_ms / 1000):
                await call.done.wait()
        finally:
            call.given_up = True
        await self._life.check()
        if call.error is not None:
            raise call.error
        if call.answer is None:
            raise PeerUnreachable("no answer in time")
        return call.answer
