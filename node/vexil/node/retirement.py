"""Retirement: incarnations that will never write again leave every vector, by a change that says how far they came.

Each start of a node is a new incarnation, so without this, vectors and digests would grow for ever. An incarnation is
retired only when it has ended for good (another one has begun in its slot, or its registration was evicted and counts
no more) and every member has promised exactly the same of it as is here. No final seq is ever guessed, and a forked
incarnation is never retired: it has two ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final, Protocol

import trio

from vexil.crdt.cell import live
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import decode
from vexil.crdt.pen import CellWrite
from vexil.crdt.schema import CURRENT, RETIRED_OBJECT, member_object, retired_field
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.directory import Directory, Registration
from vexil.node.pipeline import LocalJob, Pipeline
from vexil.node.project import Project
from vexil.node.stability import Blocked, Stable
from vexil.node.telemetry import Telemetry

RETIRE_MAX: Final = 200
"""Incarnations of one project that one change retires."""


class Ground(Protocol):
    """What retirement stands on: see `vexil.node.caretaker`."""

    @property
    def directory(self) -> Directory:
        """`_system`, read."""

    @property
    def system(self) -> Project:
        """`_system` itself."""

    @property
    def running(self) -> int:
        """The incarnation under which this process writes."""

    @property
    def forked(self) -> set[int]:
        """Incarnations with two histories."""

    def stability(self, project: Project) -> Stable | Blocked:
        """Up to where the project is at every member."""

    def counted(self) -> Sequence[Registration]:
        """Whoever has to be waited for."""

    @property
    def writes_for_all(self) -> bool:
        """This node is the one that does what any member could do: so that not all of them do it."""


class Retirement:
    """Retires what has ended, in every project."""

    def __init__(
        self,
        ground: Ground,
        pipeline: Pipeline,
        projects: Mapping[str, Project],
        telemetry: Telemetry,
        rng: Random,
        *,
        author: str,
        interval_ms: int,
    ) -> None:
        """Over ``projects``, which may grow; ``author`` is who says so in the audit trail."""
        self._ground = ground
        self._pipeline = pipeline
        self._projects = projects
        self._telemetry = telemetry
        self._rng = rng
        self._author = author
        self._interval_ms = interval_ms

    async def run(self) -> None:
        """Retire until cancelled."""
        while True:
            await trio.sleep(self._interval_ms * self._rng.uniform(0.8, 1.2) / 1000)
            ended = self.ended() if self._any_left() else set()
            for name in list(self._projects) if ended else ():
                await self.retire(self._projects[name], ended)
                await trio.lowlevel.checkpoint()

    def _any_left(self) -> bool:
        """Whether a vector has an incarnation that is not a member's current one: else there is nothing to retire."""
        members = self._ground.directory.members.values()
        current = {member.current for member in members if member.registered}
        return not all(project.replica.vv.keys() <= current for project in self._projects.values())

    def ended(self) -> set[int]:
        """Incarnations that write no more, wherever they may have written."""
        ground = self._ground
        found = ground.stability(ground.system)
        if isinstance(found, Blocked):
            return set()
        replica = ground.system.replica
        evicted = {r.slot for r in ground.counted() if r.evicted_by is not None}
        ended: set[int] = set()
        for slot, member in ground.directory.members.items():
            if slot in evicted:
                # Somebody may not know of the eviction yet, and take its changes.
                continue
            if not member.registered:
                ended.update(member.incarnations)
                continue
            begun = live(replica.cell(member_object(slot), NO_GENERATION, CURRENT))
            if not begun or not all(
                found.vv.get(lane.incarnation, 0) >= lane.seq or lane.incarnation in replica.retired
                for lane in begun
            ):
                continue
            # A lane that is not live any more was replaced by a beginning that had seen it; two live ones are twins.
            running = [decode(lane.payload).value for lane in begun]
            if any(type(value) is not int for value in running):
                # Whatever a peer wrote there, it does not tell which incarnation goes on.
                continue
            ended.update(i for i in member.incarnations if i not in running)
        return ended - ground.forked - {ground.running}

    def final(self, project: Project, ended: set[int]) -> dict[int, int]:
        """Those of ``ended`` of which every member has promised just what is here, with their final seqs."""
        vv = project.replica.vv
        mine = [i for i in sorted(ended & vv.keys()) if i not in project.stopped]
        if not mine:
            return {}
        found = self._ground.stability(project)
        if isinstance(found, Blocked):
            return {}
        vectors = [told.vector(project.name) for told in found.promises]
        return {i: vv[i] for i in mine if all(vector.get(i, 0) == vv[i] for vector in vectors)}

    async def retire(self, project: Project, ended: set[int]) -> None:
        """Write what can be said of ``ended`` in one project, in changes of `RETIRE_MAX`."""
        while self.final(project, ended) and self._ground.writes_for_all and not project.merging:
            retired = 0

            def decide(_: Project) -> Intent:
                # Looked up again: this is the state that the change builds on.
                nonlocal retired
                finals = list(self.final(project, ended & self.ended()).items())[:RETIRE_MAX]
                retired = len(finals)
                return Intent(
                    [CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(i), n) for i, n in finals]
                )

            try:
                await self._pipeline.write(
                    LocalJob(project, decide, self._author, "incarnations that have ended", None)
                )
            except errors.ApiError:  # the disk is full, or too many wait: another round will do
                return
            if not retired:
                return
            self._telemetry.count_retired(project.name, retired)
