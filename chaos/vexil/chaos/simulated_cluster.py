"""A whole cluster of production engines in one process, on simulated clocks, network, disks and region stores.

What survives a process belongs to the slot (disk, clock, address); what belongs to a process dies with it. A crash
takes the adapters first, then the tasks, so that no code of a dead process reaches the world it has left.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import trio

from vexil.chaos.determinism import Streams
from vexil.chaos.process_life import ProcessDead, ProcessLife
from vexil.chaos.simulated_archive import SimulatedArchive, row_of_nothing
from vexil.chaos.simulated_clock import ClockFaults, SeededEntropy, SimulatedClock
from vexil.chaos.simulated_disk import DiskFaults, SimulatedDisk, SimulatedJournal
from vexil.chaos.simulated_network import NetworkFaults, SimulatedNetwork
from vexil.chaos.simulated_store import SimulatedRegion, StoreFaults
from vexil.chaos.trace import Trace
from vexil.crdt.change import Change
from vexil.node.engine import Engine
from vexil.node.engine_types import EngineSettings, MustReturn, Seams
from vexil.node.project import Project
from vexil.node.seams import JournalIndeterminate, LogRecord, PeerIdentity, StoreError
from vexil.node.telemetry import Silence

STOP_GRACE_MS: Final = 3_000
RETURN_PAUSE_MS: Final = 500
GARBAGE_INTERVAL_MS: Final = 1_000
"""Shorter than in production: a simulation lasts some seconds, and what is collected must meet faults."""
_EXITS: Final = (ProcessDead, JournalIndeterminate, StoreError, MustReturn)
"""What may end a process: killed; a disk that fails to sync; a store that does not answer while it loads; a state that
is over, in whose place it begins anew."""
T = TypeVar("T")


class NoAnswer(Exception):
    """The client has heard nothing: the process died, or time ran out. The request may have been done."""


@dataclass(frozen=True, slots=True)
class ClusterFaults:
    """All that is wrong with the world of one cluster from the start; the defaults are a sound world."""

    network: NetworkFaults = field(default_factory=NetworkFaults)
    disk: DiskFaults = field(default_factory=DiskFaults)
    store: StoreFaults = field(default_factory=StoreFaults)
    clocks: dict[str, ClockFaults] = field(default_factory=dict)
    """By slot; the others are true."""


class Watcher(Protocol):
    """Who is told what engines do, at the moment they do it. No method may yield or raise."""

    def started(self, slot: Slot, engine: Engine) -> None:
        """A process has been made; it has not loaded anything yet."""

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """A process has loaded its state; ``records`` are what its journal holds."""

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """A change is in the journal and in the cells; the views do not show it yet."""

    def advanced(self, slot: Slot, project: Project) -> None:
        """A batch is visible."""

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """An engine has raised an alarm."""

    def died(self, slot: Slot, error: BaseException) -> None:
        """A process ended by an error that is our own bug."""


class Gauges(Silence):
    """``Telemetry`` and ``Log`` of one process: what the checks need, the rest is dropped."""

    def __init__(self, slot: Slot, watcher: Watcher) -> None:
        """Counters at zero."""
        self.payload_bytes_sent = 0
        self.digest_bytes_sent = 0
        self.clock_suspects = 0
        self._slot = slot
        self._watcher = watcher

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """Add up what is sent."""
        if direction == "sent":
            if kind == "payload":
                self.payload_bytes_sent += count
            else:
                self.digest_bytes_sent += count

    def count_clock_suspect(self, region: str) -> None:
        """A stamp that was not believed."""
        self.clock_suspects += 1

    def alarm_fork(self, project: str) -> None:
        """Tell the watcher."""
        self._watcher.alarm(self._slot, "fork", project)

    def alarm_divergence(self, project: str) -> None:
        """Tell the watcher."""
        self._watcher.alarm(self._slot, "divergence", project)

    def count_defect(self, project: str) -> None:
        """Tell the watcher."""
        self._watcher.alarm(self._slot, "defect", project)

    def count_aside(self, reason: str) -> None:
        """Tell the watcher."""
        self._watcher.alarm(self._slot, "aside", reason)


class WatchedEngine(Engine):
    """The production engine; its pipeline's observer also tells the watcher."""

    def __init__(self, settings: EngineSettings, seams: Seams, slot: Slot, watcher: Watcher) -> None:
        """An engine of ``slot``."""
        super().__init__(settings, seams)
        self._slot = slot
        self._watcher = watcher

    async def _load(self) -> None:
        await super()._load()
        journal = self.seams.journal
        assert isinstance(journal, SimulatedJournal)
        self._watcher.loaded(self._slot, journal.records)

    def applied(self, project: Project, change: Change, *, local: bool) -> None:
        """`Engine.applied`, and the watcher's."""
        super().applied(project, change, local=local)
        self._watcher.applied(self._slot, project, change, local=local)

    def advanced(self, project: Project) -> None:
        """`Engine.advanced`, and the watcher's."""
        super().advanced(project)
        self._watcher.advanced(self._slot, project)


@dataclass(slots=True)
class _Process:
    life: ProcessLife
    scope: trio.CancelScope
    engine: Engine
    gauges: Gauges
    ready: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)
    nursery: trio.Nursery | None = None


class Slot:
    """A place in the cluster: its name, its disk and its clock; and the process that runs there now, if any."""

    def __init__(
        self, name: str, region: str, store: SimulatedRegion, disk: SimulatedDisk, clock: SimulatedClock
    ) -> None:
        """An empty place."""
        self.name = name
        self.member = name
        """What its processes call themselves: a clone calls itself like its original."""
        self.advertised_url = f"sim://{name}"
        self.region = region
        self.store = store
        self.url = f"sim://{name}"
        self.disk = disk
        self.clock = clock
        self.starts = 0
        self.archives: list[SimulatedArchive] = []
        """States of earlier registrations that have not all come back, oldest first."""
        self.process: _Process | None = None

    @property
    def engine(self) -> Engine | None:
        """The engine of the live process."""
        return None if self.process is None or not self.process.life.alive else self.process.engine

    @property
    def ready(self) -> bool:
        """Whether a live process is ready."""
        return self.engine is not None and self.engine.ready

    @property
    def gauges(self) -> Gauges | None:
        """What the live process has counted."""
        return None if self.process is None else self.process.gauges


class SimulatedCluster:
    """Regions, slots and the world between them."""

    def __init__(
        self,
        streams: Streams,
        layout: dict[str, int],
        faults: ClusterFaults,
        nursery: trio.Nursery,
        watcher: Watcher,
        trace: Trace,
    ) -> None:
        """``layout`` says how many slots each region has; nothing runs yet. Processes run in ``nursery``."""
        self.streams = streams
        self.faults = faults
        self.trace = trace
        self.watcher = watcher
        self._nursery = nursery
        self.network = SimulatedNetwork(streams.stream("network"), nursery, trace, faults.network)
        self.regions = {name: SimulatedRegion(streams.stream("store", name), faults.store) for name in layout}
        self.slots: dict[str, Slot] = {}
        for region, count in layout.items():
            for number in range(1, count + 1):
                self.add_slot(f"{region}-{number}", region)

    def add_slot(self, name: str, region: str) -> Slot:
        """A new, empty place."""
        disk = SimulatedDisk(self.streams.stream("disk", name), self.faults.disk)
        clock = SimulatedClock(self.faults.clocks.get(name))
        slot = self.slots[name] = Slot(name, region, self.regions[region], disk, clock)
        return slot

    def wipe_slot(self, slot: Slot) -> None:
        """A new, empty disk in the place of a stopped node that shares its region's store with nobody."""
        assert slot.engine is None, "stop it first"
        assert [s for s in self.slots.values() if s.region == slot.region] == [slot], (
            "the store is not its own"
        )
        place = (slot.name, "wiped", slot.starts)
        slot.disk = SimulatedDisk(self.streams.stream("disk", *place), self.faults.disk)
        slot.store = SimulatedRegion(self.streams.stream("store", *place), self.faults.store)
        self.regions[slot.region] = slot.store
        slot.archives.clear()

    def add_namesake(self, name: str, original: Slot) -> Slot:
        """A new, empty place (disk and embedded store) whose processes call themselves like those of ``original``."""
        slot = self.add_slot(name, original.region)
        slot.store = SimulatedRegion(self.streams.stream("store", name), self.faults.store)
        slot.member = original.member
        return slot

    def clone_slot(self, original: Slot, name: str) -> Slot:
        """A copy of a stopped place, its disk and its (embedded) store included, as a copied machine image is one."""
        assert original.engine is None, "stop it first"
        clone = self.slots[name] = Slot(
            name,
            original.region,
            copy.deepcopy(original.store),
            copy.deepcopy(original.disk),
            SimulatedClock(original.clock.faults),
        )
        clone.member, clone.advertised_url = original.member, original.advertised_url
        return clone

    def set_faults(self, faults: ClusterFaults) -> None:
        """From now on network, disks and stores misbehave as ``faults`` says; clocks stay as they are."""
        self.faults = faults
        self.network.faults = faults.network
        for slot in self.slots.values():
            slot.disk.faults = faults.disk
        for region in self.regions.values():
            region.faults = faults.store

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
            bootstrap=slot is next(iter(self.slots.values())),
            garbage_interval_ms=GARBAGE_INTERVAL_MS,
        )
        archive = slot.archives[0] if slot.archives else None
        if archive is not None:
            archive.life = life
        entropy = self.streams.stream("entropy", *(place if entropy_of is None else (entropy_of,)))
        seams = Seams(
            clock=slot.clock,
            entropy=SeededEntropy(entropy),
            transport=self.network.transport(identity, life),
            store=slot.store.connect(slot.member, life),
            journal=SimulatedJournal(slot.disk, life),
            rng=self.streams.stream("choices", *place),
            telemetry=gauges,
            log=gauges,
            archive=archive,
        )
        engine = WatchedEngine(settings, seams, slot, self.watcher)
        process = _Process(life, trio.CancelScope(), engine, gauges)
        slot.process = process
        self.trace.add("start", slot.name, f"{engine.incarnation:016x}")
        self.watcher.started(slot, engine)
        self._nursery.start_soon(self._live_and_die, slot, process, identity)

    async def start(self, slot: Slot) -> None:
        """Launch, and wait until the node is ready."""
        self.launch(slot)
        assert slot.process is not None
        await slot.process.ready.wait()

    async def _live_and_die(self, slot: Slot, process: _Process, identity: PeerIdentity) -> None:
        try:
            with process.scope:
                async with trio.open_nursery() as nursery:
                    process.nursery = nursery
                    self.network.attach(
                        slot.url, identity, process.engine.peer_service.serve, nursery, process.life
                    )
                    await nursery.start(process.engine.run)
                    process.ready.set()
        except BaseException as error:
            # Whatever ends a process is looked at here, once; an end of the whole run goes on.
            errors = [e for e in _leaves(error) if isinstance(e, Exception)]
            if not all(isinstance(e, _EXITS) for e in errors):
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

    def _give_up(self, slot: Slot, must: MustReturn) -> None:
        """What a process does with its folder before it begins anew: the disk goes aside, the region is told."""
        self.trace.add("return", slot.name, must.registration)
        row = slot.store.member(slot.member)
        if must.keep:
            archive = SimulatedArchive(
                slot.disk, row, slot.member, let_go=lambda: slot.archives.remove(archive)
            )
            slot.archives.append(archive)
        place = (slot.name, "returned", slot.starts)
        slot.disk = SimulatedDisk(self.streams.stream("disk", *place), self.faults.disk)
        if row is not None:
            slot.store.put_member(row_of_nothing(row))

    async def _begin_anew(self, slot: Slot, ended: _Process) -> None:
        await ended.ended.wait()
        jitter = self.streams.stream("pause", slot.name, slot.starts).uniform(0.5, 1.5)
        await trio.sleep(RETURN_PAUSE_MS * jitter / 1000)
        if slot.process is ended:
            self.launch(slot)

    def crash(self, slot: Slot, process: _Process | None = None) -> None:
        """Kill the process in ``slot`` at this very moment; the disk keeps what it had synced, perhaps more."""
        dying = process or slot.process
        if dying is None or not dying.life.alive:
            return
        self.trace.add("crash", slot.name)
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
        self.network.detach(slot.url, process.life)
        with trio.move_on_after(STOP_GRACE_MS / 1000):
            with suppress(ProcessDead):
                await process.engine.drain()
        self.crash(slot, process)
        await process.ended.wait()

    async def ended(self, slot: Slot) -> None:
        """Return when no process runs in ``slot``."""
        if slot.process is not None and not slot.process.life.alive:
            await slot.process.ended.wait()

    # -- clients

    async def request(
        self, slot: Slot, handler: Callable[[Engine], Awaitable[T]], *, timeout_ms: float, abandon: bool
    ) -> T:
        """Run ``handler`` in the node's process, as a request of a client would.

        Raises NoAnswer if the process is not there, dies, or takes longer than ``timeout_ms``; ``abandon`` says
        whether the node then notices that its client has gone (the handler is cancelled). Raises what it raises.
        """
        process = slot.process
        if process is None or not process.life.alive or process.nursery is None:
            raise NoAnswer("nobody listens")
        done = trio.Event()
        result: list[T] = []
        failure: list[Exception] = []
        scope = trio.CancelScope()

        async def serve() -> None:
            try:
                with scope:
                    result.append(await handler(process.engine))
            except ProcessDead:
                return
            except Exception as error:  # noqa: BLE001 - it is the client's
                failure.append(error)
            if process.life.alive:
                done.set()

        process.nursery.start_soon(serve)
        with trio.move_on_after(timeout_ms / 1000):
            async with trio.open_nursery() as race:
                race.start_soon(_cancel_after, process.ended, race.cancel_scope)
                await done.wait()
                race.cancel_scope.cancel()
        if failure and done.is_set():
            raise failure[0]
        if not result or not done.is_set():
            if abandon:
                scope.cancel()
            raise NoAnswer("no answer")
        return result[0]


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
