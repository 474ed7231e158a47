"""A whole cluster is lost, and a backup makes a project of another one what it was, at every node of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio

from tests.unit.node.engine.clusters import Cluster, cluster, level, until
from tests.unit.node.engine.world import (
    SHOP,
    Place,
    check_roots,
    creates,
    node,
    running,
    sets,
    shop,
    write,
)
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.crdt.change import decode
from vexil.node import errors
from vexil.node.backup_reading import read_backup
from vexil.node.engine import Engine

NAMES = ("eu-1", "us-1", "ap-1")
OTHER_STARTS = 100
"""Processes of another cluster: they draw other incarnations."""


async def backup_of(engine: Engine) -> bytes:
    stream = await engine.backups.begin(shop(engine))
    return b"".join([piece async for piece in stream])


async def history(engine: Engine) -> list[dict[str, object]]:
    """What the audit trail shows, but for the names of the nodes, which were another cluster's."""
    items, more = await engine.history.page(shop(engine), page_size=500)
    assert more is None
    kept = ("id", "hlc", "author", "message", "fields")
    return [{name: item[name] for name in kept} for item in items]


@asynccontextmanager
async def new_cluster(
    *names: str, starts: int = OTHER_STARTS, embedded: bool = False
) -> AsyncIterator[Cluster]:
    """A cluster that knows nothing of the other one, and no project."""
    async with trio.open_nursery() as nursery:
        found = Cluster(nursery)
        for name in names:
            seeds = () if name == names[0] else (f"p://{names[0]}",)
            place = found.places[name] = Place(
                name, board=found.board, seeds=seeds, digests=True, embedded=embedded
            )
            place._starts = starts
            await found.start(name)
        yield found
        nursery.cancel_scope.cancel()


def same_history(one: Sequence[dict[str, object]], other: Sequence[dict[str, object]]) -> bool:
    """Whether both have the same items; concurrent ones may be in another order."""

    def by_id(item: dict[str, object]) -> str:
        return str(item["id"])

    return sorted(one, key=by_id) == sorted(other, key=by_id)


async def test_a_lost_cluster_comes_back_from_a_backup(autojump_clock: object) -> None:
    async with cluster(*NAMES) as old:
        for name in NAMES:
            for number in range(10):
                await write(old[name], creates(f"{name}.{number}"), idempotency=(f"{name}/{number}", b"f"))
        await until(lambda: level(list(old.engines.values())))
        old.cut("ap-1")
        await write(old["ap-1"], sets("eu-1.0", "description", "from ap"))
        await write(old["eu-1"], sets("eu-1.0", "description", "from eu"))
        old.mend("ap-1")
        await until(lambda: level(list(old.engines.values())))
        root = shop(old["us-1"]).replica.root_hash()
        conflicts = shop(old["us-1"]).conflicts()
        await old["us-1"].drain()
        trail = await history(old["us-1"])
        data = await backup_of(old["us-1"])
    assert conflicts
    assert len(trail) == 32

    async with new_cluster(*NAMES) as new:
        told = await new["eu-1"].restoring.restore(SHOP, data, author="operator", dry_run=False)
        assert (told["root_hash"], told["copy"], told["changes"]) == (root, False, 32)
        engines = list(new.engines.values())
        await until(lambda: all(SHOP in engine.project_names() for engine in engines))
        await until(lambda: all(SHOP in engine.projects for engine in engines))
        await until(lambda: all(shop(e).replica.root_hash() == root for e in engines))
        for engine in engines:
            check_roots(engine)
            assert shop(engine).conflicts() == conflicts
            assert len(shop(engine).flag_keys()) == 30
            assert set(shop(engine).flag_set("prod").flags) == set(shop(engine).flag_keys())
            assert engine.forks.incarnations == set()
        with trio.fail_after(600):
            for engine in engines:
                while not same_history(trail, await history(engine)):  # noqa: ASYNC110 - looked at from outside
                    await trio.sleep(1)
        # It lives: writes at every node, retries of clients of the old one, and a race that is settled.
        again = await write(new["ap-1"], creates("eu-1.3"), idempotency=("eu-1/3", b"f"))
        assert again.replayed
        for name in NAMES:
            await write(new[name], creates(f"new.{name}"))
            await write(new[name], sets("us-1.1", "description", f"edited at {name}"))
        await until(lambda: level(engines))
        assert len(shop(engines[0]).flag_keys()) == 33
        # And it is there after a restart of the node that has restored it.
        before = dict(shop(new["eu-1"]).replica.vv), shop(new["eu-1"]).replica.root_hash()
        await new.stop("eu-1")
        await new.start("eu-1")
        assert (dict(shop(new["eu-1"]).replica.vv), shop(new["eu-1"]).replica.root_hash()) == before
        check_roots(new["eu-1"])


@pytest.mark.parametrize("embedded", [False, True])
async def test_a_restored_state_can_be_backed_up_and_restored_again(
    autojump_clock: object, embedded: bool
) -> None:
    async with node() as (_, engine):
        for number in range(5):
            await write(engine, creates(f"f{number}"))
        data = await backup_of(engine)
    async with new_cluster("eu-1", embedded=embedded) as new:
        await new["eu-1"].restoring.restore(SHOP, data, author="operator", dry_run=False)
        await write(new["eu-1"], creates("more"))
        data = await backup_of(new["eu-1"])
        trail = await history(new["eu-1"])
        root = shop(new["eu-1"]).replica.root_hash()
    assert len(trail) == 6
    backup = await read_backup([data])
    assert backup.row_count == 6
    async with new_cluster("eu-1", "us-1", starts=2 * OTHER_STARTS, embedded=embedded) as third:
        await third["us-1"].restoring.restore(SHOP, data, author="operator", dry_run=False)
        assert shop(third["us-1"]).replica.root_hash() == root
        assert await history(third["us-1"]) == trail
        await third.stop("us-1")
        await third.start("us-1")
        assert shop(third["us-1"]).replica.root_hash() == root
        assert await history(third["us-1"]) == trail
        check_roots(third["us-1"])


async def test_a_log_that_was_shortened_is_backed_up_as_far_as_it_goes(autojump_clock: object) -> None:
    async with node() as (_, engine):
        for number in range(10):
            await write(engine, creates(f"f{number}"))
        await engine.drain()
        through = {engine.incarnation: 6}
        await engine.seams.journal.trim(SHOP, through)
        await engine.seams.store.trim_changes(SHOP, through)
        backup = await read_backup([await backup_of(engine)])
    assert [row.seq for row in backup.rows] == [10, 9, 8, 7]
    assert sum(name.startswith("flag/") for name in backup.state.objects) == 10


async def test_a_backup_waits_for_the_store_to_hold_it(autojump_clock: object) -> None:
    region = SimulatedRegion(Random(13))
    async with running(Place(region=region).engine()) as engine:
        await engine.write(
            "_system",
            engine.restoring._definition(SHOP, ["prod"], "v3"),
            author="test",
        )
        await write(engine, creates("f"))
        backup = await read_backup([await backup_of(engine)])
        assert backup.row_count == 1
        region.available = False
        await write(engine, creates("g"))
        with pytest.raises(errors.DurabilityUnavailable):
            await backup_of(engine)
        region.available = True
        await engine.drain()
        backup = await read_backup([await backup_of(engine)])
    assert [decode(row.raw).seq for row in backup.rows] == [2, 1]
