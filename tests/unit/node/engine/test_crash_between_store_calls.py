"""A node that dies between any two calls of its store comes up again with the state that it had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import trio

from tests.unit.node.engine.store_worlds import StoppingStore
from tests.unit.node.engine.world import (
    SHOP,
    Place,
    Stranger,
    check_roots,
    creates,
    flag_writes,
    make_shop,
    push,
    running,
    sets,
    shop,
    state_of,
    write,
)
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.crdt.change import Dot
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.crdt.version_vector import covers
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.project import Project

Acknowledged = list[Dot]


def deletes(key: str) -> Callable[[Project], Intent]:
    def decide(project: Project) -> Intent:
        state = project.flag(key)
        assert state is not None
        return Intent([CellWrite(f"flag/{key}", state.generation, "exists", TOMBSTONE)])

    return decide


async def story(engine: Engine, acknowledged: Acknowledged) -> None:
    """Creates, edits, a delete, received changes, overlapping rounds: what is acknowledged is noted."""

    async def mine(decide: Callable[[Project], Intent]) -> None:
        written = await write(engine, decide, durability="node")
        assert written.dot is not None
        acknowledged.append(written.dot)

    async def theirs(stranger: Stranger) -> None:
        answer = await push(engine, stranger.log)
        acknowledged.extend(answer.vv_by_project("have")[SHOP].items())

    await make_shop(engine)
    assert engine.writer is not None
    for key in "abc":
        await mine(creates(key))
    stranger = await Stranger().follow(engine)
    await engine.writer.flush()
    stranger.create("d")
    name = stranger.replica.objects["flag/a"]
    generation = next(iter(name))
    stranger.write([CellWrite("flag/a", generation, "description", "theirs")])
    await mine(sets("a", "description", "mine"))
    await theirs(stranger)
    await engine.writer.flush()
    await mine(deletes("b"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.writer.flush)
        nursery.start_soon(mine, sets("a", "description", "again"))
        nursery.start_soon(engine.writer.flush)
    stranger.write(flag_writes("e"))
    await theirs(stranger)
    await engine.writer.flush()


async def live(engine: Engine, stopped: trio.Event, acknowledged: Acknowledged) -> None:
    """Run the story; die at once when the store has stopped."""

    async def whole() -> None:
        await nursery.start(engine.run)
        await story(engine, acknowledged)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(whole)
        await stopped.wait()
        nursery.cancel_scope.cancel()


def check_same(again: Engine, dead: Engine, acknowledged: Acknowledged) -> None:
    check_roots(again)
    if SHOP not in dead.projects:
        return
    vv = shop(again).replica.vv
    assert all(vv[incarnation] >= seq for incarnation, seq in acknowledged)
    before = state_of(dead)
    for name, (vector, root) in before.items():
        if name == SHOP:
            assert state_of(again)[name] == (vector, root)
            assert again.projects[name].flag_keys() == dead.projects[name].flag_keys()
        else:
            now = again.projects[name].replica.vv
            assert all(now.get(i, 0) >= seq for i, seq in vector.items())


class Simulated:
    """A region, and the node's own disk for the journal."""

    def __init__(self, *, disk_lost: bool = False) -> None:
        self._place = Place(region=SimulatedRegion(Random(3)))
        self._disk_lost = disk_lost

    async def run(self, calls: int | None, *, landed: bool) -> int:
        place = self._place
        store = StoppingStore(place.store(), calls=calls, landed=landed)
        acknowledged: Acknowledged = []
        dead = place.engine(store=store)
        await live(dead, store.stopped, acknowledged)
        place.disk.crash()
        if self._disk_lost:
            place.disk.wipe()
            await self._check_store_alone(dead)
            return store.calls
        async with running(place.engine()) as again:
            check_same(again, dead, acknowledged)
            await again.drain()
            last = state_of(again)
        # And now the disk is lost too: what the store was told is whole.
        place.disk.wipe()
        async with running(place.engine()) as third:
            check_roots(third)
            assert state_of(third).get(SHOP) == last.get(SHOP)
        return store.calls

    async def _check_store_alone(self, dead: Engine) -> None:
        """What was said to be in the region is in the region, and is whole."""
        row = await self._place.store().read_member("eu-1")
        told = {} if dead.writer is None else dead.writer.stored
        async with running(self._place.engine()) as again:
            check_roots(again)
            for project, vv in told.items():
                assert row is not None
                assert covers(row.vv[project], vv)
                assert covers(again.projects[project].replica.vv, row.vv[project])


class OnSqlite:
    """One file for both."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run(self, calls: int | None, *, landed: bool) -> int:
        place, path = Place(), self._folder / f"{calls}-{landed}.db"
        acknowledged: Acknowledged = []
        async with SqliteStore.open(path) as inner:
            store = StoppingStore(inner, calls=calls, landed=landed)
            dead = place.engine(store=store, journal=inner)
            await live(dead, store.stopped, acknowledged)
        async with SqliteStore.open(path) as inner:
            async with running(place.engine(store=inner, journal=inner)) as again:
                check_same(again, dead, acknowledged)
                await again.drain()
                last = state_of(again)
            async with running(place.engine(store=inner, journal=inner)) as third:
                check_roots(third)
                assert state_of(third).get(SHOP) == last.get(SHOP)
        return store.calls


async def every_stop(make: Callable[[], Simulated | OnSqlite], *, landed: bool) -> None:
    whole = await make().run(None, landed=landed)
    assert whole > 10
    for calls in range(1, whole + 1):
        try:
            await make().run(calls, landed=landed)
        except BaseException as error:
            error.add_note(f"stopped at store call {calls} of {whole}")
            raise


@pytest.mark.parametrize("landed", [False, True], ids=["the last call is lost", "the last call has landed"])
@pytest.mark.parametrize("disk_lost", [False, True], ids=["the disk is kept", "the disk is lost"])
async def test_a_crash_between_any_two_calls_of_a_regions_store(
    autojump_clock: object, landed: bool, disk_lost: bool
) -> None:
    await every_stop(lambda: Simulated(disk_lost=disk_lost), landed=landed)


@pytest.mark.parametrize("landed", [False, True], ids=["the last call is lost", "the last call has landed"])
async def test_a_crash_between_any_two_calls_of_the_embedded_store(tmp_path: Path, landed: bool) -> None:
    await every_stop(lambda: OnSqlite(tmp_path), landed=landed)
