"""Several real engines that gossip with one another over the switchboard of `world`, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from tests.unit.node.engine.world import Place, Switchboard, make_shop
from vexil.node.engine import Engine

SEED = "eu-1"
PATIENCE_S = 600.0


class Cluster:
    """Nodes by name; a node's region is the part of its name before the dash. All of them are members."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.board = Switchboard()
        self.places: dict[str, Place] = {}
        self.engines: dict[str, Engine] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._ended: dict[str, trio.Event] = {}
        self._nursery = nursery

    def __getitem__(self, name: str) -> Engine:
        return self.engines[name]

    async def start(self, name: str) -> Engine:
        """A new node, or a new process of one that was stopped; ready on return."""
        place = self.places.get(name)
        if place is None:
            seeds = () if name == SEED else (f"p://{SEED}",)
            place = self.places[name] = Place(name, board=self.board, seeds=seeds, digests=True)
        engine = place.engine()
        self._scopes[name] = trio.CancelScope()
        self._ended[name] = trio.Event()
        await self._nursery.start(self._run, name, engine)
        self.engines[name] = engine
        return engine

    async def _run(self, name: str, engine: Engine, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self._scopes[name]:
                await engine.run(task_status=task_status)
        finally:
            self._ended[name].set()

    async def stop(self, name: str) -> None:
        """The process is killed; its disk stays."""
        self._scopes[name].cancel()
        await self._ended[name].wait()
        del self.engines[name]
        self.board.engines.pop(f"p://{name}", None)

    def cut(self, name: str) -> None:
        """Nobody reaches ``name``, and it reaches nobody."""
        for other in self.engines:
            if other != name:
                self[name].links.set(name, other, cut=True)
                self[other].links.set(name, other, cut=True)

    def mend(self, name: str) -> None:
        """Take `cut` back."""
        for other in self.engines:
            if other != name:
                self[name].links.set(name, other, cut=False)
                self[other].links.set(name, other, cut=False)


@asynccontextmanager
async def cluster(*names: str) -> AsyncIterator[Cluster]:
    """A cluster of ``names``, `SEED` first, with the project ``shop``."""
    async with trio.open_nursery() as nursery:
        found = Cluster(nursery)
        for name in names:
            await found.start(name)
            if name == SEED:
                await make_shop(found[SEED], members=())
        await until(lambda: all("shop" in e.project_names() for e in found.engines.values()))
        yield found
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], *, within_s: float = PATIENCE_S) -> None:
    """Return when ``condition`` holds, in virtual time; fails after ``within_s``."""
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110 - it looks at nodes from outside
            await trio.sleep(0.25)


def level(engines: Sequence[Engine], project: str = "shop") -> bool:
    """Whether all of them have the same changes and the same state of ``project``."""
    found = {
        (e.projects[project].replica.vv_hash(), e.projects[project].replica.root_hash()) for e in engines
    }
    return len(found) == 1
