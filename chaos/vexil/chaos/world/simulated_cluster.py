"""A whole cluster of production engines in one process, on simulated clocks, network, disks and region stores.

What survives a process belongs to the slot (disk, clock, address); what belongs to a process dies with it. A crash
takes the adapters first, then the tasks, so that no code of a dead process reaches the world it has left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, TypeVar

import trio

from vexil.chaos.world.cluster_faults import ClusterFaults
from vexil.chaos.world.determinism import Streams
from vexil.chaos.world.next_version import NextTransport, NextVersion, with_more
from vexil.chaos.world.process_life import ProcessDead, ProcessLife
from vexil.chaos.world.protocol_steps import CLIENT_WRITE
from vexil.chaos.world.simulated_archive import SimulatedArchive, row_of_nothing
from vexil.chaos.world.simulated_clock import SeededEntropy, SimulatedClock
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.chaos.world.simulated_network import SimulatedNetwork
from vexil.chaos.world.simulated_slot import Gauges, Process, Slot, WatchedEngine, Watcher
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.chaos.world.trace import Trace
from vexil.chaos.world.virtual_time import Sleepers
from vexil.node.durability import NODE, REGION
from vexil.node.engine import Engine
from vexil.node.engine_types import EngineSettings, MustReturn, Seams
from vexil.node.seams import PeerHandler, PeerIdentity, PeerTransport

__all__ = ["ClusterFaults", "NoAnswer", "SimulatedCluster", "Slot", "WatchedEngine", "Watcher"]

STOP_GRACE_MS: Final = 3_000
RETURN_PAUSE_MS: Final = 500
GARBAGE_INTERVAL_MS: Final = 1_000
"""Shorter than in production: a simulation lasts some seconds, and what is collected must meet faults."""
T = TypeVar("T")


class NoAnswer(Exception):
    """The client has heard nothing: the process died, or time ran out. The request may have been done."""


class SimulatedCluster:
    """Regions, slots and the world between them."""

    def __init__(
        self,
        streams: Streams,
        layout: Mapping[str, int],
        faults: ClusterFaults,
        nursery: trio.Nursery,
        watcher: Watcher,
        trace: Trace,
        *,
        embedded: bool = False,
        garbage_interval_ms: int = GARBAGE_INTERVAL_MS,
        fired: Counter[str] | None = None,
    ) -> None:
        """``layout`` says how many slots each region has; nothing runs yet. Processes run in ``nursery``.

        ``embedded``: each slot has a store of its own; else the slots of a region share one. ``fired`` counts how often
        each continuous fault strikes, as ``network.lose_request``.
        """
        self.embedded = embedded
        self.garbage_interval_ms = garbage_interval_ms
        self.streams = streams
        self.faults = faults
        self.trace = trace
        self.watcher = watcher
        self.on_life: Callable[[Slot, str], None] = lambda *_: None
        """Told of a process: it is ``ready``, is ``stopping`` as planned, has ``ended``, is ``returning`` anew."""
        self.fired: Counter[str] = Counter() if fired is None else fired
        self.founded = False
        """The cluster is there: from then on no node is told that it may begin one, as an operator would have it."""
        self._nursery = nursery
        nursery.start_soon(self._end)
        self.network = SimulatedNetwork(streams, trace, faults.network, fired=self.fired)
        self.regions = {name: self._store(name) for name in layout}
        self.slots: dict[str, Slot] = {}
        for region, count in layout.items():
            for number in range(1, count + 1):
                self.add_slot(f"{region}-{number}", region)

    async def _end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            # Who stands still would wait for ever: an append that is handed to the disk cannot be cancelled.
            for slot in self.slots.values():
                if slot.process is not None:
                    slot.process.life.go_on()

    def _store(self, *place: object) -> SimulatedRegion:
        rng, durability = self.streams.stream("store", *place), NODE if self.embedded else REGION
        return SimulatedRegion(rng, self.faults.store, fired=self.fired, durability=durability)

    def _disk(self, *place: object) -> SimulatedDisk:
        return SimulatedDisk(self.streams.stream("disk", *place), self.faults.disk, fired=self.fired)

    # -- places

    def add_slot(self, name: str, region: str) -> Slot:
        """A new, empty place."""
        clock = SimulatedClock(self.faults.clocks.get(name))
        store = self._store(name) if self.embedded else self.regions[region]
        slot = self.slots[name] = Slot(name, region, store, self._disk(name), clock)
        return slot

    def remove_slot(self, slot: Slot) -> None:
        """The place of a stopped node is there no more."""
        assert slot.engine is None, "stop it first"
        self.slots.pop(slot.name, None)

    def lose_disk(self, slot: Slot) -> None:
        """A new, empty disk in the place of a stopped node; its own store, if it has one, was on the old one."""
        assert slot.engine is None, "stop it first"
        place = (slot.name, "wiped", slot.starts)
        slot.disk = self._disk(*place)
        slot.archives.clear()
        if self.embedded:
            slot.store = self._store(*place)

    def wipe_slot(self, slot: Slot) -> None:
        """`lose_disk` of a node that shares its region's store with nobody: the store is empty, too."""
        assert [s for s in self.slots.values() if s.region == slot.region] == [slot], (
            "the store is not its own"
        )
        self.lose_disk(slot)
        if not self.embedded:
            slot.store = self.regions[slot.region] = self._store(slot.name, "wiped", slot.starts)

    def copy_of(self, slot: Slot, *, name: str) -> tuple[SimulatedDisk, SimulatedRegion | None]:
        """What is on a node's disk now, its own store included if it has one, as a copied folder has it.

        ``name`` names the streams that the copies draw from.
        """
        store = slot.store.copied(self.streams.stream("store", name)) if self.embedded else None
        return slot.disk.copied(self.streams.stream("disk", name)), store

    def put_copy(self, slot: Slot, kept: tuple[SimulatedDisk, SimulatedRegion | None]) -> None:
        """Put what `copy_of` gave in the place of a stopped node's disk."""
        assert slot.engine is None, "stop it first"
        slot.disk, store = kept
        slot.disk.faults = self.faults.disk
        slot.archives.clear()
        if store is not None:
            slot.store = store
            store.faults = self.faults.store

    def add_namesake(self, name: str, original: Slot) -> Slot:
        """A new, empty place (disk and embedded store) whose processes call themselves like those of ``original``."""
        slot = self.add_slot(name, original.region)
        slot.store = self._store(name)
        slot.member = original.member
        return slot

    def clone_slot(self, original: Slot, name: str) -> Slot:
        """A copy of a stopped place, its disk and its own store included, as a copied machine image is one."""
        assert original.engine is None, "stop it first"
        disk = original.disk.copied(self.streams.stream("disk", name))
        store = original.store.copied(self.streams.stream("store", name))
        clock = SimulatedClock(original.clock.faults)
        clone = self.slots[name] = Slot(name, original.region, store, disk, clock)
        clone.member, clone.advertised_url = original.member, original.advertised_url
        return clone

    def set_faults(self, faults: ClusterFaults) -> None:
        """From now on network, disks and stores misbehave as ``faults`` says; clocks stay as they are."""
        self.faults = faults
        self.network.faults = faults.network
        for slot in self.slots.values():
            slot.disk.faults = faults.disk
            slot.store.faults = faults.store

    def live(self) -> list[Slot]:
        """Slots whose process is ready, by name."""
        return [slot for _, slot in sorted(self.slots.items()) if slot.ready]

    # -- processes

    def launch(self, slot: Slot, *, entropy_of: str | None = None) -> None:
        """Start a process in ``slot``; it becomes ready in its own time.

        Processes with the same ``entropy_of`` draw the same numbers: copies of one running machine.
        """
        assert slot.process is None or slot.process.ended.is_set(), f"{slot.name} runs already"
        slot.starts += 1
        place = (slot.name, slot.starts)
        life = ProcessLife()
        identity = PeerIdentity(slot.member, slot.region)
        gauges = Gauges(slot, self.watcher)
        settings = EngineSettings(
            name=slot.member,
            region=slot.region,
            peer_url=slot.advertised_url,
            http_url=f"http://{slot.member}",
            seeds=tuple(other.url for other in self.slots.values() if other is not slot),
            bootstrap=not self.founded and slot is next(iter(self.slots.values())),
            garbage_interval_ms=self.garbage_interval_ms,
        )
        for archive in slot.archives:
            archive.life = life
        entropy = self.streams.stream("entropy", *(place if entropy_of is None else (entropy_of,)))
        transport: PeerTransport = self.network.transport(identity, life)
        if slot.next_version:
            transport = NextTransport(transport)
        seams = Seams(
            clock=slot.clock,
            entropy=SeededEntropy(entropy),
            transport=transport,
            store=slot.store.connect(slot.member, life),
            journal=SimulatedJournal(slot.disk, life),
            rng=self.streams.stream("choices", *place),
            telemetry=gauges,
            log=gauges,
            archives=tuple(slot.archives),
        )
        kind = NextVersion if slot.next_version else WatchedEngine
        engine = kind(settings, seams, slot, self.watcher)
        process = Process(life, trio.CancelScope(), engine, gauges)
        slot.process = process
        self.trace.add("start", slot.name, f"{engine.incarnation:016x}")
        self.watcher.started(slot, engine)
        self._nursery.start_soon(self._live_and_die, slot, process, identity)

    async def start(self, slot: Slot) -> None:
        """Launch, and wait until the node is ready."""
        self.launch(slot)
        assert slot.process is not None
        await slot.process.ready.wait()

    async def _live_and_die(self, slot: Slot, process: Process, identity: PeerIdentity) -> None:
        process.task = trio.lowlevel.current_task()
        serve = process.engine.peer_service.serve
        handler = _of_the_next_version(serve) if isinstance(process.engine, NextVersion) else serve
        try:
            with process.scope:
                async with trio.open_nursery() as nursery:
                    process.nursery = nursery
                    self.network.attach(slot.url, identity, handler, nursery, process.life)
                    await nursery.start(process.engine.run)
                    process.ready.set()
                    self.on_life(slot, "ready")
        except BaseException as error:
            # Whatever ends a process is looked at here, once; an end of the whole run goes on.
            errors = [e for e in leaves(error) if isinstance(e, Exception)]
            if not all(process.may_end_by(e) for e in errors):
                self.watcher.died(slot, error)
            alive = process.life.alive
            self.crash(slot, process)
            if not errors:
                raise
            returns = [e for e in errors if isinstance(e, MustReturn)]
            if returns and alive:
                self._give_up(slot, returns[0])
                self._nursery.start_soon(self._begin_anew, slot, process)
            await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            process.ready.set()
            process.ended.set()
            for client in process.clients:
                client.wake_all()

    def _give_up(self, slot: Slot, must: MustReturn) -> None:
        """What a process does with its folder before it begins anew: the disk goes aside, the region is told."""
        self.trace.add("return", slot.name, must.registration)
        self.on_life(slot, "returning")
        row = slot.store.member(slot.member)
        if must.keep:
            archive = SimulatedArchive(
                slot.disk,
                row,
                slot.member,
                let_go=lambda: slot.archives.remove(archive),
                store=slot.store,
            )
            slot.archives.append(archive)
        slot.disk = self._disk(slot.name, "returned", slot.starts)
        if row is not None:
            slot.store.put_member(row_of_nothing(row))

    async def _begin_anew(self, slot: Slot, ended: Process) -> None:
        await ended.ended.wait()
        jitter = self.streams.stream("pause", slot.name, slot.starts).uniform(0.5, 1.5)
        await trio.sleep(RETURN_PAUSE_MS * jitter / 1000)
        if slot.process is ended and slot.name in self.slots:
            self.launch(slot)

    def crash(self, slot: Slot, process: Process | None = None) -> None:
        """Kill the process in ``slot`` at this very moment; the disk keeps what it had synced, perhaps more."""
        dying = process or slot.process
        if dying is None or not dying.life.alive:
            return
        self.trace.add("crash", slot.name)
        self.on_life(slot, "ended")
        dying.life.kill()
        self.network.detach(slot.url, dying.life)
        slot.disk.crash()
        dying.scope.cancel()

    async def stop(self, slot: Slot) -> None:
        """A planned stop: no new requests, what the store lacks is written, then the process ends."""
        process = slot.process
        if process is None or not process.life.alive:
            return
        self.trace.add("stop", slot.name)
        self.on_life(slot, "stopping")
        self.network.detach(slot.url, process.life)
        process.engine.feeds.close()
        try:
            with trio.move_on_after(STOP_GRACE_MS / 1000), suppress(ProcessDead):
                await process.engine.drain()
        finally:
            self.crash(slot, process)
        await process.ended.wait()

    async def ended(self, slot: Slot) -> None:
        """Return when no process runs in ``slot``."""
        if slot.process is not None and not slot.process.life.alive:
            await slot.process.ended.wait()

    # -- clients

    async def request(
        self,
        slot: Slot,
        handler: Callable[[Engine], Awaitable[T]],
        *,
        timeout_ms: float,
        abandon: bool,
        step: str = CLIENT_WRITE,
    ) -> T:
        """Run ``handler`` in the node's process, as a request of a client would; it is the ``step`` of the process.

        Raises NoAnswer if the process is not there, dies, or takes longer than ``timeout_ms``; ``abandon`` says
        whether the node then notices that its client has gone (the handler is cancelled). Raises what it raises.
        """
        process = slot.process
        if process is None or not process.life.alive or process.nursery is None:
            raise NoAnswer("nobody listens")
        client = Sleepers()
        answered = False
        result: list[T] = []
        failure: list[Exception] = []
        scope = trio.CancelScope()

        async def serve() -> None:
            nonlocal answered
            try:
                with scope, process.life.step(step):
                    await process.life.check()
                    answer = await handler(process.engine)
                    await process.life.check()
                    result.append(answer)
            except ProcessDead:
                return
            except Exception as error:  # noqa: BLE001 - it is the client's
                failure.append(error)
            if process.life.alive:
                answered = True
                client.wake_all()

        try:
            process.nursery.start_soon(serve)
        except RuntimeError:
            # Its engine has ended by itself in this very step of the scheduler: the nursery is closed.
            raise NoAnswer("nobody listens any more") from None
        process.clients[client] = None
        try:
            await client.sleep(timeout_ms / 1000)
        finally:
            del process.clients[client]
            if abandon and not answered:
                # Also if it is the client that is gone.
                scope.cancel()
        if failure and answered:
            raise failure[0]
        if not result or not answered:
            raise NoAnswer("no answer")
        return result[0]


def _of_the_next_version(serve: PeerHandler) -> PeerHandler:
    async def handle(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        return with_more(await serve(caller, method, body))

    return handle


def leaves(error: BaseException) -> Iterable[BaseException]:
    """The exceptions of a group that are no groups themselves; of any other one, itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
