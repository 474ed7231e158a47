"""What a node does now and then, so that no request has to: forgetting old keys, counting what cannot be exported.

Everything here goes in slices: between them other tasks get their turn, and a pass over a large project takes a
bounded share of the node's time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import trio

from vexil.node import startup
from vexil.node.project import Project
from vexil.node.region_writer import RegionWriter
from vexil.node.seams import Clock, Store, StoreError
from vexil.sdk.flagd import not_exportable

DROP_STALE_AFTER_S = 60.0
"""After its start a node has better things to do than to tidy up."""
FORGET_INTERVAL_S = 60.0
COUNT_INTERVAL_S = 5.0
COUNT_REST = 20
"""After a count the node rests for so many times as long as it took: at most a twentieth of its time goes there."""
SLICE_FLAGS = 100


async def drop_stale_folds(
    store: Store, writer: RegionWriter, on_failure: Callable[[StoreError], None]
) -> None:
    """Some time after a start, have the store drop the folds that nobody reads; what it refuses waits for the next."""
    await trio.sleep(DROP_STALE_AFTER_S)
    try:
        await startup.drop_stale(store, writer.row)
    except StoreError as error:
        on_failure(error)


class Upkeep:
    """The background work of one node."""

    def __init__(self, projects: Mapping[str, Project], clock: Clock, rng: Random) -> None:
        """Over ``projects``, which may grow."""
        self._projects = projects
        self._clock = clock
        self._rng = rng
        self._counted: dict[str, int] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forget)
            nursery.start_soon(self._count)

    async def _forget(self) -> None:
        while True:
            await trio.sleep(FORGET_INTERVAL_S * self._rng.uniform(0.8, 1.2))
            wall_ms = self._clock.wall_ms()
            for project in self._projects.values():
                project.idempotency.forget_before(wall_ms)

    async def _count(self) -> None:
        while True:
            began_s = trio.current_time()
            for name in list(self._projects):
                await self.count_not_exportable(self._projects[name])
            took_s = trio.current_time() - began_s
            await trio.sleep(max(COUNT_INTERVAL_S, took_s * COUNT_REST) * self._rng.uniform(0.8, 1.2))

    async def count_not_exportable(self, project: Project) -> None:
        """Bring ``project.not_exportable`` up to date, if the project has changed since the last time."""
        changes = project.changes_applied
        if self._counted.get(project.name) == changes:
            return
        count = 0
        keys = list(project.flag_keys())
        for environment in project.environments:
            for start in range(0, len(keys), SLICE_FLAGS):
                if environment in project.environments:
                    flag_set = project.flag_set(environment)
                    count += len(not_exportable(flag_set, keys[start : start + SLICE_FLAGS]))
                await trio.lowlevel.checkpoint()
        project.not_exportable = count
        self._counted[project.name] = changes
