"""Services with the SDK: each runs the production client's logic, on virtual time, against the nodes' HTTP interfaces.

A service follows one environment for as long as the run lasts. It is killed and started again when its plan says so,
with what its disk has, if it has one. What its client publishes is noted as the service's standing, which checkers
judge. The times of the client are those of production, but for those that a run would not see the end of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import trio

from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.history import History, Standing
from vexil.chaos.run.plan import Plan, Service
from vexil.chaos.world.client_connections import CONNECT_TIMEOUT_S, ClientConnections
from vexil.chaos.world.node_interface import FASTER, key_of
from vexil.chaos.world.process_life import ProcessLife
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_file import OpenFile, SimulatedFile
from vexil.chaos.world.virtual_time import call_later
from vexil.node.api import tokens
from vexil.node.seams import PeerIdentity
from vexil.sdk.client import core
from vexil.sdk.client.options import Options
from vexil.sdk.client.state import Held, Publication
from vexil.sdk.model import FlagSet

_MADE: Final = Options()
OPTIONS: Final = Options(
    connect_timeout_s=CONNECT_TIMEOUT_S,
    answer_timeout_s=2.0,
    silence_s=_MADE.silence_s / FASTER,
    event_timeout_s=_MADE.event_timeout_s / FASTER,
    steady_s=_MADE.steady_s / FASTER,
    stream_retry_s=5.0,
    return_after_s=5.0,
    back_off_base_s=_MADE.back_off_base_s,
    back_off_floor_s=_MADE.back_off_floor_s,
    back_off_max_s=4.0,
    behind_back_off_max_s=1.0,
    retry_after_max_s=5.0,
    snapshot_every_s=2.0,
    snapshot_refresh_s=10.0,
)
POLL_S: Final = 1.0
SILENT_S: Final = OPTIONS.silence_s + OPTIONS.answer_timeout_s + CONNECT_TIMEOUT_S
"""Whoever has heard nothing for longer knows that he may be stale: a stream that is silent is given up, and one poll of
the same node has brought nothing."""
DOWN_S: Final = (0.05, 1.0)
"""From a kill to the next start."""


class Listener(Protocol):
    """Who is told what becomes of the clients: the checkers."""

    def followed(self, standing: Standing) -> None:
        """A client answers from another set, or the same one has another token; or it begins anew."""

    def silent(self, standing: Standing) -> None:
        """Bytes come to a client that has heard nothing for long."""

    def asked(self, service: str, slot: str) -> None:
        """A client tries to connect to a node."""

    def parted(self, services: Sequence[str], slot: str) -> None:
        """A process has died under the streams of these clients."""


class Streams:
    """Which services have a stream of which process."""

    def __init__(self, listener: Listener) -> None:
        """Nobody."""
        self._listener = listener
        self._of: dict[ProcessLife, tuple[str, list[str]]] = {}

    def begin(self, service: str, slot: str, life: ProcessLife) -> None:
        """``service`` has one now."""
        self._of.setdefault(life, (slot, []))[1].append(service)

    def end(self, service: str, life: ProcessLife) -> None:
        """It has it no more; the first to notice that the process is dead tells so for all."""
        slot, services = self._of.get(life, ("", []))
        if not life.alive:
            if self._of.pop(life, None) is not None:
                self._listener.parted(services, slot)
        elif service in services:
            services.remove(service)


class Follower:
    """One service while the run lasts. It is the ``Watch`` of its connections."""

    def __init__(
        self,
        service: Service,
        cluster: SimulatedCluster,
        connections: ClientConnections,
        history: History,
        listener: Listener,
        streams: Streams,
    ) -> None:
        """It has not begun."""
        self._service = service
        self._cluster = cluster
        self._connections = connections
        self._history = history
        self._listener = listener
        self._streams = streams
        self._file = SimulatedFile(cluster.streams.stream("service", service.name, "file"))
        self._on: ProcessLife | None = None
        self._token: str | None = None
        """What the vector of the standing was read from."""
        self._standing = history.standings[service.name] = Standing(service)

    async def live(self) -> None:
        """One process after another; until cancelled, or until it leaves."""
        service, began_s = self._service, self._history.began_s
        rng = self._cluster.streams.stream("service", service.name, "lives")
        end_s = began_s + service.leaves_s if service.leaves_s else float("inf")
        for until_s in (*(began_s + at_s for at_s in service.restarts), end_s):
            if until_s > trio.current_time():
                await self._live_once(min(until_s, end_s))
                await trio.sleep(rng.uniform(*DOWN_S))
        del self._history.standings[service.name]

    async def _live_once(self, until_s: float) -> None:
        service, standing, streams = self._service, self._standing, self._cluster.streams
        standing.life += 1
        self._token = None
        standing.flag_set, standing.token, standing.source = FlagSet(), {}, "none"
        standing.stale_since_s, standing.heard_s = None, trio.current_time()
        self._history.tell(service.name, "starts", f"its client follows {service.environment}")
        self._listener.followed(standing)
        file = self._file.opened()
        rng = streams.stream("service", service.name, standing.life)
        identity = PeerIdentity(service.name, service.region)
        world = core.World(
            transport=self._connections.transport(identity, self, rng),
            clock=_TrueClock(),
            rng=streams.stream("service", service.name, standing.life, "client"),
            cache=file if service.keeps else None,
            bootstrap=None,
        )
        options = OPTIONS if not service.polls else _POLLING
        plan = core.Plan(
            urls=[f"http://{slot}" for slot in service.urls],
            key=key_of(service.environment),
            poll_s=POLL_S,
            options=options,
        )
        client = core.Core(plan, world, held=Held(flag_set=FlagSet()), publish=self._published)
        with trio.CancelScope() as scope:
            if until_s < float("inf"):
                call_later(until_s - trio.current_time(), lambda: _kill(file, scope))
            await client.run()

    def _published(self, publication: Publication) -> None:
        held, status, _ = publication
        standing = self._standing
        before, told = (standing.flag_set, standing.token), standing.error
        if held.token != self._token:
            self._token = held.token
            standing.token = {} if held.token is None else tokens.decode(held.token, PROJECT)
        standing.slot = (status.url or "").removeprefix("http://")
        standing.source, standing.flag_set = held.source, held.flag_set
        standing.stale_since_s, standing.stale_regions = status.stale_since, status.stale_regions
        standing.error = status.error or ""
        if standing.error != told:
            self._history.tell(self._service.name, "status", standing.error or f"{standing.slot} confirms")
        if standing.ready and (held.flag_set is not before[0] or standing.token is not before[1]):
            version = held.flag_set.version
            self._cluster.trace.add("follows", self._service.name, version)
            self._history.tell(self._service.name, "follows", f"{version} of {standing.slot or held.source}")
            self._listener.followed(standing)

    # -- Watch

    def asked(self, slot: str) -> None:
        """`Watch.asked`."""
        self._listener.asked(self._service.name, slot)

    def heard(self) -> None:
        """`Watch.heard`."""
        standing, now_s = self._standing, trio.current_time()
        if now_s - standing.heard_s > SILENT_S:
            self._listener.silent(standing)
        standing.heard_s = now_s
        for said in self._connections.errors:
            self._history.violate("P12", f"a request ended in an error of ours: {said}")
        self._connections.errors.clear()

    def streams(self, slot: str, life: ProcessLife) -> None:
        """`Watch.streams`."""
        self._on = life
        self._streams.begin(self._service.name, slot, life)

    def left(self) -> None:
        """`Watch.left`."""
        if self._on is not None:
            self._streams.end(self._service.name, self._on)
            self._on = None


class _TrueClock:
    """``vexil.sdk.client.seams.Clock`` that shows virtual time."""

    def now_s(self) -> float:
        return trio.current_time()


_POLLING: Final = replace(OPTIONS, stream=False)


def _kill(file: OpenFile, scope: trio.CancelScope) -> None:
    file.kill()
    scope.cancel()


def work(
    plan: Plan,
    cluster: SimulatedCluster,
    history: History,
    listener: Listener,
    start: Callable[..., object],
) -> None:
    """Start every service of the plan; ``start`` starts a task that the run ends."""
    connections, streams = ClientConnections(cluster), Streams(listener)
    for service in plan.services:
        start(Follower(service, cluster, connections, history, listener, streams).live)
