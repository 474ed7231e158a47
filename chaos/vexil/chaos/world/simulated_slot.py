"""A place in a simulated cluster and the process that runs there: the production engine, watched.

What survives a process belongs to the slot (disk, clock, address); what belongs to a process dies with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from vexil.chaos.world.process_life import ProcessDead, ProcessLife
from vexil.chaos.world.protocol_steps import LOAD
from vexil.chaos.world.simulated_archive import SimulatedArchive
from vexil.chaos.world.simulated_clock import SimulatedClock
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.chaos.world.virtual_time import Sleepers
from vexil.crdt.change import Change
from vexil.node.engine import Engine
from vexil.node.engine_types import EngineSettings, MustReturn, Seams
from vexil.node.enrolment import RESTORED
from vexil.node.project import Project
from vexil.node.seams import JournalIndeterminate, LogRecord, StoreError
from vexil.node.telemetry import Silence

TWIN: Final = "another process runs in this slot"
"""What `vexil.node.alarms` calls it."""


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

    def collected(self, slot: Slot, project: Project) -> None:
        """Garbage has been taken out of a project's state."""

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

    def error(self, event: str, **facts: object) -> None:
        """Tell the watcher what a node says of itself: its folder is an older copy, or runs somewhere else, too."""
        if facts.get("standing") == RESTORED:
            self._watcher.alarm(self._slot, "restored", event)
        elif event == TWIN:
            self._watcher.alarm(self._slot, "twin", event)

    def count_collected(self, project: str, rows: int) -> None:
        """Tell the watcher."""
        if rows and self._slot.process is not None:
            self._watcher.collected(self._slot, self._slot.process.engine.projects[project])


class WatchedEngine(Engine):
    """The production engine; its pipeline's observer also tells the watcher."""

    def __init__(self, settings: EngineSettings, seams: Seams, slot: Slot, watcher: Watcher) -> None:
        """An engine of ``slot``."""
        super().__init__(settings, seams)
        self._slot = slot
        self._watcher = watcher

    async def _load(self) -> None:
        journal = self.seams.journal
        assert isinstance(journal, SimulatedJournal)
        with journal.life.step(LOAD):
            await super()._load()
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
class Process:
    """What of a process the cluster has to know."""

    life: ProcessLife
    scope: trio.CancelScope
    engine: Engine
    gauges: Gauges
    ready: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)
    nursery: trio.Nursery | None = None
    clients: dict[Sleepers, None] = field(default_factory=dict)
    """Whoever waits for an answer, and is woken when it ends."""
    task: trio.lowlevel.Task | None = None
    """The one that all others of the process descend from."""

    def may_end_by(self, error: Exception) -> bool:
        """Whether a sound process may end by it.

        It was killed; a store does not answer while it loads; a disk fails to sync; its state is over, and it begins
        anew.
        """
        if isinstance(error, ProcessDead):
            return not self.life.alive
        if isinstance(error, StoreError):
            return not self.ready.is_set()
        return isinstance(error, JournalIndeterminate | MustReturn)


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
        self.next_version = False
        """Its processes are nodes of a version that comes after this one."""
        self.process: Process | None = None

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
