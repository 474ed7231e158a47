"""One node as a process: the adapters put together, and the order in which they come up and go down.

Up: configuration, folder lock, journal and store, engine, peer port, HTTP port. Both ports answer from the start
(health, metrics, "not ready"), before the state is loaded. Down, on SIGTERM or SIGINT: stop taking connections,
finish what is in flight, tell the store what it lacks, close. A second signal ends the process at once.
An engine that must return from an empty state (`MustReturn`) goes down the same way; its file is moved aside, and
another engine comes up in its place.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import trio

from vexil.node.adapters import python_memory
from vexil.node.adapters.folder_lock import FolderLock, FolderLocked, FolderUnusable
from vexil.node.adapters.http_peers import HttpPeerTransport
from vexil.node.adapters.peer_app import PeerAppLimits, create_peer_app
from vexil.node.adapters.peer_auth import SecretTooShort
from vexil.node.adapters.returned_files import STORE_FILE, SqliteArchive, archives, complete, set_aside
from vexil.node.adapters.serving import ServingError, ServingLimits, serve
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.adapters.system import SystemClock, SystemEntropy
from vexil.node.api.app import create_app
from vexil.node.api.bootstrap import VARIABLE as BOOTSTRAP_VARIABLE
from vexil.node.api.bootstrap import BootstrapKeyInvalid, bootstrap_owner_key
from vexil.node.api.limits import ApiLimits
from vexil.node.api.tickets import derived
from vexil.node.config import ConfigError, NodeConfig, cluster_secret
from vexil.node.engine import Engine
from vexil.node.engine_types import EngineSettings, MustReturn, Seams
from vexil.node.gossip.loops import GossipSettings
from vexil.node.grpc.services import port_app
from vexil.node.logs import configure_logs, get_logger
from vexil.node.metrics import Metrics
from vexil.node.seams import PeerIdentity, SeamError
from vexil.node.telemetry import Log

DRAIN_MS = 5_000
RETURN_PAUSE_MS = 500
CONNECTIONS_BESIDE_STREAMS = 2_000
"""What a port takes beyond the streams that the node allows: a full house must not keep out who only asks."""
SEED_BYTES = 16
ARCHIVES_OPEN_MAX = 16
"""Earlier states of this slot that are brought back in one life of a process; as a rule there is one."""
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_EXPECTED = (SeamError, ServingError, SecretTooShort, BootstrapKeyInvalid, OSError, ValueError)


def main(config_path: Path, environment: Mapping[str, str]) -> int:
    """Run the node that ``config_path`` describes until a signal; the exit code."""
    try:
        config = NodeConfig.load(config_path, environment)
        secret = cluster_secret(config, environment)
    except ConfigError as error:
        _tell(error)
        return EXIT_USAGE
    configure_logs(clock=SystemClock(), stream=sys.stderr)
    python_memory.hold_off()
    try:
        with FolderLock.acquire(config.data):
            trio.run(_run, config, secret, environment.get(BOOTSTRAP_VARIABLE, ""))
    except (FolderLocked, FolderUnusable) as error:
        _tell(error)
        return EXIT_FAILED
    except BaseExceptionGroup as group:
        expected, rest = group.split(_EXPECTED)
        for leaf in _leaves(expected):
            _tell(leaf)
        if rest is not None:
            raise rest from None
        return EXIT_FAILED
    except _EXPECTED as error:
        _tell(error)
        return EXIT_FAILED
    return 0


async def _run(config: NodeConfig, secret: bytes, owner_key: str) -> None:
    clock, entropy = SystemClock(), SystemEntropy()
    # Jitter and choices need no secrecy, but two nodes must not make the same ones.
    rng = Random(entropy.token_bytes(SEED_BYTES))
    log = get_logger(node=config.name, region=config.region)
    transport = HttpPeerTransport(
        caller=PeerIdentity(config.name, config.region), secret=secret, entropy=entropy
    )
    world = _World(clock, entropy, transport, rng, log)
    stop = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_watch_signals, stop)
            while not stop.is_set():
                must = await _live(config, secret, owner_key, world, stop)
                if must is not None:
                    await _give_up(config, must, world, stop)
            log.info("stopped")
            nursery.cancel_scope.cancel()
    finally:
        await transport.aclose()


@dataclass(frozen=True, slots=True)
class _World:
    """What outlives an engine of this process."""

    clock: SystemClock
    entropy: SystemEntropy
    transport: HttpPeerTransport
    rng: Random
    log: Log


async def _give_up(config: NodeConfig, must: MustReturn, world: _World, stop: trio.Event) -> None:
    """Move the state of a registration that is over out of the way of the next engine."""
    world.log.warning("beginning anew", reason=must.reason, registration=must.registration, kept=must.keep)
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(
            partial(set_aside, config.data, must.registration, keep=must.keep), abandon_on_cancel=False
        )
    python_memory.begin_anew()
    # Whatever sends it back at once must not make it a storm.
    with trio.move_on_after(RETURN_PAUSE_MS * world.rng.uniform(0.5, 1.5) / 1000):
        await stop.wait()


@asynccontextmanager
async def _archives(config: NodeConfig, log: Log) -> AsyncIterator[list[SqliteArchive]]:
    """The states that were moved aside and can be read, oldest first; over `ARCHIVES_OPEN_MAX` at later starts."""
    async with AsyncExitStack() as stack:
        found: list[SqliteArchive] = []
        for path in await trio.to_thread.run_sync(archives, config.data):
            if len(found) == ARCHIVES_OPEN_MAX:
                log.warning("a state that was moved aside waits for the next start", file=str(path))
                continue
            try:
                found.append(await stack.enter_async_context(SqliteArchive.open(path, config.name)))
            except SeamError as error:
                # It stays where it is, for a person; the node does without it.
                log.warning("a state that was moved aside cannot be read", file=str(path), error=str(error))
        yield found


async def _live(
    config: NodeConfig, secret: bytes, owner_key: str, world: _World, stop: trio.Event
) -> MustReturn | None:
    """One engine from its start to its end: None if that was ``stop``, else why another one must follow."""
    clock, entropy, rng, log = world.clock, world.entropy, world.rng, world.log
    metrics = Metrics()
    await trio.to_thread.run_sync(complete, config.data)
    async with SqliteStore.open(config.data / STORE_FILE) as store, _archives(config, log) as found:
        engine = Engine(
            EngineSettings(
                name=config.name,
                region=config.region,
                peer_url=config.peer_url,
                http_url=config.http_url,
                seeds=config.seeds,
                bootstrap=config.bootstrap,
                clock_skew_limit_ms=config.clock_skew_limit_ms,
                catch_up_ms=config.catch_up_limit_ms,
                gossip=GossipSettings(
                    interval_region_ms=config.gossip_interval_region_ms,
                    interval_remote_ms=config.gossip_interval_remote_ms,
                    fanout_remote=config.push_fanout_remote,
                ),
                garbage_interval_ms=config.garbage_interval_ms,
                log_retention_days=config.log_retention_days,
                streams_max=config.streams_max,
            ),
            Seams(
                clock=clock,
                entropy=entropy,
                transport=world.transport,
                store=store,
                journal=store,
                rng=rng,
                telemetry=metrics,
                log=log,
                archives=found,
            ),
        )
        metrics.watch(engine.status)
        peer_app = create_peer_app(
            engine.peer_service.serve,
            secret,
            entropy,
            PeerAppLimits(frame_limit_bytes=config.peer_frame_bytes_max),
            on_refused=metrics.count_peer_refusal,
        )
        http_app = create_app(
            engine,
            clock=clock,
            entropy=entropy,
            rng=rng,
            logger=log,
            metrics=metrics,
            dev_links=engine.links if config.dev else None,
            ticket_secret=derived(secret),
            limits=ApiLimits(
                request_body_bytes_max=config.request_body_bytes_max,
                import_body_bytes_max=config.import_body_bytes_max,
            ),
        )
        serving = ServingLimits(
            shutdown_ms=config.shutdown_grace_ms,
            connections_max=config.streams_max + CONNECTIONS_BESIDE_STREAMS,
        )
        closing = trio.Event()
        must: list[MustReturn] = []

        async def run_engine() -> None:
            try:
                await engine.run()
            except MustReturn as error:
                must.append(error)
                closing.set()

        async def close_at_stop() -> None:
            await stop.wait()
            closing.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_engine)
            nursery.start_soon(close_at_stop)
            async with trio.open_nursery() as servers:
                await servers.start(_serve, peer_app, config.peer_host, config.peer_port, closing, serving)
                await servers.start(_serve, http_app, config.http_host, config.http_port, closing, serving)
                for at in config.flagd_listener:
                    flagd = port_app(http_app.services, project=at.project, environment=at.environment)
                    await servers.start(_serve, flagd, at.host, at.port, closing, serving)
                log.info("listening", http=config.http_url, peers=config.peer_url)
                helpers = [
                    await servers.start(_cancellable, partial(python_memory.run, engine.until_ready)),
                    await servers.start(_cancellable, partial(_make_owner_key, engine, owner_key, config)),
                ]
                await closing.wait()
                engine.feeds.close()
                for helper in helpers:
                    helper.cancel()
                servers.cancel_scope.deadline = trio.current_time() + config.shutdown_grace_ms / 1000
            if not must:
                with trio.move_on_after(DRAIN_MS / 1000):
                    await engine.drain()
            nursery.cancel_scope.cancel()
        return must[0] if must else None


async def _cancellable(
    work: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Work that waits for a node to be ready, which it may never be."""
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await work()


async def _serve(
    app: object,
    host: str,
    port: int,
    stop: trio.Event,
    limits: ServingLimits,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    await serve(app, host=host, port=port, shutdown=stop, limits=limits, task_status=task_status)  # type: ignore[arg-type]


async def _make_owner_key(engine: Engine, given: str, config: NodeConfig) -> None:
    """A cluster without keys gets its first owner key from the environment, or a generated one, told once."""
    if not config.bootstrap:
        return
    await engine.until_ready()
    # A generated key may be shown to a person, never to a log file.
    made = await bootstrap_owner_key(
        engine, given, entropy=engine.seams.entropy, generate=not given and sys.stdout.isatty()
    )
    if made is not None:
        sys.stdout.write(f"the first owner key of this cluster, shown only now: {made}\n")
        sys.stdout.flush()


async def _watch_signals(
    stop: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                raise SystemExit(EXIT_INTERRUPTED)
            stop.set()


def _tell(error: BaseException) -> None:
    """The last words of a process, for whoever started it."""
    sys.stderr.write(f"vexil: {error}\n")


def _leaves(group: BaseExceptionGroup[BaseException] | None) -> Iterator[BaseException]:
    for error in () if group is None else group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
