"""Garbage collection: rounds that take out of a state what is stable and of no use any more.

A round asks up to where a project is stable, has the store write that floor (nothing may be gone that the floor does
not tell of), and only then takes garbage out, object by object, in slices that leave the event loop to others. What
may hold garbage is remembered as changes come, so a round looks at little; only the first one, and one after a state
came as a whole, looks at everything.

Collecting waits for members and for nothing else. Who is waited for, and since when, is told in the status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

import trio

from vexil.crdt import cell as cells
from vexil.crdt import hlc as hlcs
from vexil.crdt import version_vector
from vexil.crdt.change import Change, Dot
from vexil.crdt.garbage import FoldRemoval
from vexil.crdt.payload import is_tombstone
from vexil.node.announcements import Place
from vexil.node.project import Project
from vexil.node.stability import Blocked, Stable, Waiting
from vexil.node.telemetry import Telemetry

REST: Final = 20
"""After a round the collector rests for so many times as long as it took: a twentieth of the node's time at most."""
SLICE_CELLS: Final = 200
"""Cells that are looked at before other tasks get a turn: some milliseconds, if all of them are garbage."""
BLOCKED_AFTER_S: Final = 30.0
"""A member that is behind for so long blocks: less is the way of every announcement."""


class Ground(Protocol):
    """What the collector stands on: see `vexil.node.caretaker`."""

    def stability(self, project: Project) -> Stable | Blocked:
        """Up to where the project is at every member."""

    async def store_floor(self, project: Project) -> None:
        """Return when the store has the project's header with the floor as it is now."""

    def note_removed(self, project: Project, removals: list[FoldRemoval]) -> None:
        """Have the store drop these rows."""

    @property
    def may_collect(self) -> bool:
        """This node is ready, and a member."""


@dataclass(slots=True)
class _Wait:
    """A member is waited for until its promise covers ``wanted``; every time it does, the wait begins anew."""

    since_s: float
    wanted: Mapping[int, int]
    twins: bool
    """It is two processes: no promise of it will do."""


@dataclass(slots=True)
class _Heap:
    """One project's garbage, as far as it is known."""

    names: dict[str, None] = field(default_factory=dict)
    """Objects that hold what may become garbage, or may since they were changed."""
    whole: bool = True
    """Every object is to be looked at."""
    fresh: bool = False
    """A name has come since the last round."""
    done: tuple[Mapping[int, int], int] | None = None
    """The stable vector, and the count of retired incarnations, of the last round that went through."""
    collected: int = 0
    waits: dict[Place, _Wait] = field(default_factory=dict)


class Collector:
    """The garbage of every project of one node."""

    def __init__(
        self,
        ground: Ground,
        projects: Mapping[str, Project],
        telemetry: Telemetry,
        rng: Random,
        *,
        interval_ms: int,
    ) -> None:
        """Over ``projects``, which may grow."""
        self._ground = ground
        self._projects = projects
        self._telemetry = telemetry
        self._rng = rng
        self._interval_ms = interval_ms
        self._heaps: dict[str, _Heap] = {}

    # -- what has changed

    def note(self, project: str, change: Change) -> None:
        """``change`` has been applied: remember what it replaces or removes something in."""
        heap = self._heap(project)
        for operation in change.operations:
            if operation.seen or is_tombstone(operation.payload):
                heap.names[operation.object] = None
                heap.fresh = True

    def state_came(self, project: str) -> None:
        """The project's state has been joined with another one as a whole: look at everything again."""
        self._heap(project).whole = True

    # -- rounds

    async def run(self) -> None:
        """Collect until cancelled."""
        took_s = 0.0
        while True:
            await trio.sleep(max(self._interval_ms / 1000, took_s * REST) * self._rng.uniform(0.8, 1.2))
            began_s = trio.current_time()
            for name in list(self._projects):
                await self.collect(self._projects[name])
                await trio.lowlevel.checkpoint()
            took_s = trio.current_time() - began_s

    async def collect(self, project: Project) -> None:
        """One round over one project."""
        heap = self._heap(project.name)
        if not self._ground.may_collect or project.merging:
            return
        if heap.whole:
            await self._look_at_everything(project, heap)
        if not heap.names:
            heap.waits.clear()
            return
        found = self._ground.stability(project)
        self._follow_waits(heap, project, found.behind)
        if isinstance(found, Blocked):
            return
        replica = project.replica
        done = (found.vv, len(replica.retired))
        if not found.vv or (heap.done == done and not heap.fresh):
            return
        began_s = trio.current_time()
        heap.fresh = False
        replica.advance_floor(found.vv)
        await self._ground.store_floor(project)
        if await self._collect_objects(project, heap, found.vv):
            heap.done = done
        else:
            heap.fresh = True
        self._telemetry.observe_garbage_round(project.name, trio.current_time() - began_s)

    async def _look_at_everything(self, project: Project, heap: _Heap) -> None:
        heap.whole = False
        looked_at = 0
        for name in list(project.replica.objects):
            generations = project.replica.cells(name)
            if holds_garbage(generations):
                heap.names[name] = None
                heap.fresh = True
            looked_at += sum(map(len, generations.values()))
            if looked_at >= SLICE_CELLS:
                looked_at = 0
                await trio.lowlevel.checkpoint()

    async def _collect_objects(self, project: Project, heap: _Heap, stable: Mapping[int, int]) -> bool:
        """Whether the round went through; not if a snapshot has come in between."""
        replica = project.replica
        looked_at = 0
        for name in list(heap.names):
            if project.merging:
                return False
            looked_at += sum(map(len, replica.cells(name).values()))
            removals = replica.collect(name, stable)
            if removals:
                self._ground.note_removed(project, removals)
                heap.collected += len(removals)
                self._telemetry.count_collected(project.name, len(removals))
            if not holds_garbage(replica.cells(name)):
                heap.names.pop(name, None)
            if looked_at >= SLICE_CELLS:
                looked_at = 0
                await trio.lowlevel.checkpoint()
        return True

    def _heap(self, project: str) -> _Heap:
        heap = self._heaps.get(project)
        if heap is None:
            heap = self._heaps[project] = _Heap()
        return heap

    # -- who is waited for

    @staticmethod
    def _follow_waits(heap: _Heap, project: Project, behind: Iterable[Waiting]) -> None:
        now_s = trio.current_time()
        vv: Mapping[int, int] | None = None
        waits: dict[Place, _Wait] = {}
        for place, told in behind:
            wait = heap.waits.get(place)
            twins = told is not None and bool(told.twins)
            if (
                wait is None
                or wait.twins != twins
                or (told is not None and _covers(told.vector(project.name), wait.wanted, project))
            ):
                vv = vv or dict(project.replica.vv)
                wait = _Wait(now_s, vv, twins)
            waits[place] = wait
        heap.waits = waits

    def blockers(self, project: str) -> dict[Place, float]:
        """Members that the project's garbage waits for, and since when (`trio.current_time()`)."""
        heap = self._heaps.get(project)
        if heap is None or not heap.names:
            return {}
        latest_s = trio.current_time() - BLOCKED_AFTER_S
        return {
            place: wait.since_s
            for place, wait in heap.waits.items()
            if wait.twins or wait.since_s <= latest_s
        }

    def status(self, wall_ms: int) -> dict[str, Any]:
        """Per project: rows collected since the start, objects that wait, and for whom."""
        now_s = trio.current_time()
        told: dict[str, Any] = {}
        for name in sorted(self._projects):
            heap = self._heap(name)
            replica = self._projects[name].replica
            waited = {place: int((now_s - since_s) * 1000) for place, since_s in self.blockers(name).items()}
            told[name] = {
                "collected": heap.collected,
                "candidates": len(heap.names),
                "floor_lag": version_vector.missing(replica.floor, replica.vv),
                "blocked_by": [
                    {
                        "node": place.slot,
                        "registration": place.registration,
                        "since": hlcs.render_time(wall_ms - waited_ms),
                        "waited_ms": waited_ms,
                        "twins": heap.waits[place].twins,
                    }
                    for place, waited_ms in sorted(waited.items())
                ],
            }
        return told


def holds_garbage(generations: Mapping[Dot, Mapping[str, bytes]]) -> bool:
    """Whether anything in an object has been replaced or removed: what garbage is made of, sooner or later."""
    for fields in generations.values():
        for packed in fields.values():
            flat = cells.unpacked(packed)
            for i in range(0, len(flat), cells.WIDTH):
                if flat[i + 4] or is_tombstone(flat[i + 3]):
                    return True
    return False


def _covers(promised: Mapping[int, int], wanted: Mapping[int, int], project: Project) -> bool:
    return all(promised.get(i, 0) >= seq or i in project.replica.retired for i, seq in wanted.items())
