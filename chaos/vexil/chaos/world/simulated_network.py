"""A simulated network between engines: messages take time, get lost, come twice, overtake each other.

A call is a request that travels, a handler that runs in the *called* process, and an answer that travels back. The
three are apart: a caller that gave up or died may still have been heard, and a lost answer is not a lost request.
Cuts are one-way and are looked at when a message arrives, so one that is on its way is caught as well. Every link draws
from a stream of its own: what one carries changes nothing for another.

A damaged message never passes for a sound one. In production its seal (an HMAC over all of it) does not fit, and it is
refused before anybody reads it; here a damaged message is one that cannot be decoded, so that it is refused as well. A
change inside a message that is silently another one cannot arrive, in neither world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

import trio

from vexil.chaos.world.determinism import Streams
from vexil.chaos.world.process_life import ProcessDead, ProcessLife
from vexil.chaos.world.trace import Trace
from vexil.chaos.world.virtual_time import Sleepers, call_later
from vexil.node.gossip.messages import Malformed, Message
from vexil.node.seams import PeerAddress, PeerHandler, PeerIdentity, PeerRefused, PeerUnreachable

FRAME_BYTES_MAX: Final = 4 << 20
CORRUPT_BYTES_MAX: Final = 64
"""Of a message, in one place."""
_NEVER: Final = b"\xc1"
"""The byte that msgpack never uses."""


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
    truncate: float = 0.0
    """A request or an answer is cut short at a random place."""
    corrupt: float = 0.0
    """A run of up to `CORRUPT_BYTES_MAX` bytes of it, and more if it could still be read, is overwritten."""


@dataclass(slots=True)
class _Endpoint:
    identity: PeerIdentity
    handler: PeerHandler
    nursery: trio.Nursery
    life: ProcessLife


@dataclass(slots=True)
class _Call:
    """What the caller waits for."""

    caller: Sleepers = field(default_factory=Sleepers)
    answer: bytes | None = None
    error: Exception | None = None
    given_up: bool = False
    """The caller has closed the connection: what is not through a narrow link by then never arrives."""

    def finish(self, answer: bytes | None, error: Exception | None) -> None:
        self.answer, self.error = answer, error
        self.caller.wake_all()


@dataclass(frozen=True, slots=True, eq=False)
class _Burden:
    """A link that carries its messages late, or few bytes at a time."""

    source: str
    target: str
    added_ms: float
    bytes_per_s: float

    def hits(self, source: PeerIdentity, target: PeerIdentity) -> bool:
        return self.source in source and self.target in target


class SimulatedNetwork:
    """All links of one cluster. ``faults`` may be replaced at any time, for a phase of calm."""

    def __init__(
        self,
        streams: Streams,
        trace: Trace,
        faults: NetworkFaults | None = None,
        *,
        fired: Counter[str] | None = None,
    ) -> None:
        """A network without cuts.

        ``fired`` counts how often each of ``faults`` has struck, as ``network.<its name>``.
        """
        self.faults = faults if faults is not None else NetworkFaults()
        self.fired: Counter[str] = Counter() if fired is None else fired
        self._streams = streams
        self._trace = trace
        self._endpoints: dict[str, _Endpoint] = {}
        self._links: dict[tuple[str, str], Random] = {}
        self._cuts: Counter[tuple[str, str]] = Counter()
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._burdens: list[_Burden] = []
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
        self._cuts[source, target] += 1

    def mend(self, source: str, target: str) -> None:
        """Undo one `cut`; the same cut made twice needs two."""
        self._cuts.subtract([(source, target)])
        self._cuts += Counter()

    def refuse(self, source: str, target: str) -> None:
        """The place ``source`` can open no connection to ``target``; it may still be called by it, and answer."""
        self._refusals[source, target] += 1

    def admit(self, source: str, target: str) -> None:
        """Undo one `refuse`."""
        self._refusals.subtract([(source, target)])
        self._refusals += Counter()

    def burden(
        self, source: str, target: str, *, added_ms: float = 0.0, bytes_per_s: float = 0.0
    ) -> Callable[[], None]:
        """Messages from ``source`` to ``target`` take up to ``added_ms`` longer, and as many bytes a second.

        Returns what undoes it; again, and after `mend_all`, that is harmless.
        """
        burden = _Burden(source, target, added_ms, bytes_per_s)
        self._burdens.append(burden)

        def lift() -> None:
            if burden in self._burdens:
                self._burdens.remove(burden)

        return lift

    def mend_all(self) -> None:
        """No cuts, no refusals, no burdens."""
        self._cuts.clear()
        self._refusals.clear()
        self._burdens.clear()

    def blocked(self, source: PeerIdentity, target: PeerIdentity) -> bool:
        """Whether messages from ``source`` to ``target`` are dropped."""
        return _among(self._cuts, source, target)

    # -- connections of those who are no nodes

    def connection_s(self, source: PeerIdentity, target: PeerIdentity) -> float | None:
        """How long what a connection carries from ``source`` to ``target`` takes now; None: nothing gets through."""
        if self.blocked(source, target):
            return None
        return self._latency_s(self._link(source.node, target.node), source, target)

    def listens(self, url: str, life: ProcessLife) -> bool:
        """Whether the process ``life`` takes connections at ``url``."""
        endpoint = self._endpoints.get(url)
        return endpoint is not None and endpoint.life is life and life.alive

    # -- messages

    def begin(self, source: PeerIdentity, url: str, method: str, body: bytes) -> _Call:
        """Put a request on its way."""
        call = _Call()
        link, faults = self._link(source.node, url), self.faults
        if not self._strikes(link, "lose_request", faults.lose_request):
            self._send(link, source, url, method, body, call)
        if self._strikes(link, "duplicate_request", faults.duplicate_request):
            self._send(link, source, url, method, body, _Call())
        return call

    def _send(
        self, link: Random, source: PeerIdentity, url: str, method: str, body: bytes, call: _Call
    ) -> None:
        body = self._damaged(link, body)
        listening = self._endpoints.get(url)
        there = None if listening is None else listening.identity
        latency_s = self._latency_s(link, source, there)
        transfer_s = 0.0 if there is None else self._transfer_s(source, there, len(body))
        arrive = partial(self._arrive, source, url, method, body, call, is_narrow=transfer_s > 0)
        call_later(latency_s + transfer_s, arrive)

    def _arrive(
        self, source: PeerIdentity, url: str, method: str, body: bytes, call: _Call, *, is_narrow: bool
    ) -> None:
        if is_narrow and call.given_up:
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
            with endpoint.life.step(f"serve {method}"):
                await endpoint.life.check()
                try:
                    answer = await endpoint.handler(source, method, body)
                    assert len(answer) <= FRAME_BYTES_MAX, "an answer is over the frame limit"
                except PeerRefused as error:
                    refusal = error
                await endpoint.life.check()
        except ProcessDead:
            return
        link = self._link(endpoint.identity.node, source.node)
        if endpoint.life.alive and not self._strikes(link, "lose_answer", self.faults.lose_answer):
            self._answer(endpoint.identity, source, method, answer, refusal, call)

    def _answer(
        self,
        source: PeerIdentity,
        target: PeerIdentity,
        method: str,
        answer: bytes | None,
        refusal: PeerRefused | None,
        call: _Call,
    ) -> None:
        link = self._link(source.node, target.node)
        if answer is not None:
            answer = self._damaged(link, answer)
        takes_s = self._latency_s(link, source, target) + self._transfer_s(source, target, len(answer or b""))
        call_later(takes_s, partial(self._return, source, target, method, answer, refusal, call))

    def _return(
        self,
        source: PeerIdentity,
        target: PeerIdentity,
        method: str,
        answer: bytes | None,
        refusal: PeerRefused | None,
        call: _Call,
    ) -> None:
        if not self.blocked(source, target):
            size = refusal.code if refusal is not None else len(answer or b"")
            self._trace.add("answer", source.node, target.node, method, size)
            call.finish(answer, refusal)

    # -- what a link does to a message

    def _link(self, source: str, target: str) -> Random:
        """The stream of requests from a node to a URL, or of answers from a node to a node."""
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = self._streams.stream("network", source, target)
        return link

    def _strikes(self, rng: Random, fault: str, probability: float) -> bool:
        strikes = rng.random() < probability
        if strikes:
            self.fired[f"network.{fault}"] += 1
        return strikes

    def _damaged(self, link: Random, message: bytes) -> bytes:
        faults = self.faults
        if self._strikes(link, "truncate", faults.truncate):
            return message[: link.randrange(len(message))]
        if self._strikes(link, "corrupt", faults.corrupt):
            return corrupted(message, link)
        return message

    def _latency_s(self, link: Random, source: PeerIdentity, target: PeerIdentity | None) -> float:
        faults = self.faults
        if target is None or target.region == source.region:
            ms = link.uniform(faults.region_ms_min, faults.region_ms_max)
        else:
            ms = link.uniform(faults.remote_ms_min, faults.remote_ms_max)
        if self._strikes(link, "slow", faults.slow):
            ms += link.uniform(0, faults.slow_ms_max)
        if target is not None:
            for burden in self._burdens:
                if burden.added_ms and burden.hits(source, target):
                    ms += link.uniform(0, burden.added_ms)
        return ms / 1000

    def _transfer_s(self, source: PeerIdentity, target: PeerIdentity, size: int) -> float:
        """How long a message of ``size`` bytes takes because of its size."""
        rates = [b.bytes_per_s for b in self._burdens if b.bytes_per_s and b.hits(source, target)]
        if self.faults.narrow:
            link = (source.node, target.node)
            if link not in self._narrow:
                rng = self._streams.stream("network", "narrow", *link)
                self._narrow[link] = self._strikes(rng, "narrow", self.faults.narrow)
            if self._narrow[link]:
                rates.append(self.faults.bytes_per_s)
        return size / min(rates) if rates else 0.0


def corrupted(message: bytes, rng: Random) -> bytes:
    """``message`` with a run of bytes overwritten at a random place, and from there on to the left until it is none."""
    start = rng.randrange(len(message))
    length = rng.randint(1, min(CORRUPT_BYTES_MAX, len(message) - start))
    damaged = bytearray(message)
    damaged[start : start + length] = _NEVER * length
    while start and _can_be_read(bytes(damaged)):
        # It was inside of a value, which nobody looks into before the seal: production would refuse it all the same.
        damaged[start // 2 : start] = _NEVER * (start - start // 2)
        start //= 2
    return bytes(damaged)


def _can_be_read(message: bytes) -> bool:
    try:
        Message.decode(message)
    except Malformed:
        return False
    return True


def _among(pairs: Container[tuple[str, str]], source: PeerIdentity, target: PeerIdentity) -> bool:
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
        with self._life.step(f"call {method}"):
            await self._life.check()
            call = self._network.begin(self._identity, peer.url, method, body)
            try:
                await call.caller.sleep(timeout_ms / 1000)
            finally:
                call.given_up = True
            await self._life.check()
        if call.error is not None:
            raise call.error
        if call.answer is None:
            raise PeerUnreachable("no answer in time")
        return call.answer
