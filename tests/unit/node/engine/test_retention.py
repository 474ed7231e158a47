"""The log's oldest rows go when they are older than is kept and everybody has them; the state stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.unit.node.engine.clusters import Cluster, cluster, level, until
from tests.unit.node.engine.world import SHOP, creates, sets, shop, write
from vexil.node.engine import Engine
from vexil.node.retention import DAY_MS, INTERVAL_S


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def rows(engine: Engine) -> set[tuple[int, int]]:
    """The dots of ``shop`` that the store's log can serve."""
    start = await engine.seams.store.log_start(SHOP)
    page = await engine.seams.store.read_changes(
        SHOP, after=start, through=shop(engine).replica.vv, limit_bytes=1 << 30
    )
    return {(r.incarnation, r.seq) for r in page}


def days_later(found: Cluster, days: float) -> None:
    """The wall clocks of all nodes jump; what is written from now on is younger."""
    for place in found.places.values():
        place.clock.step(int(days * DAY_MS))


async def trim(engine: Engine) -> dict[str, Any]:
    await engine.caretaker.retention.trim(shop(engine))
    return dict(engine.status()["log"].get(SHOP, {}))


async def quiet(found: Cluster) -> None:
    await until(lambda: level(list(found.engines.values())))
    await trio.sleep(30)


async def test_old_rows_go_and_young_ones_stay(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found:
        eu = found["eu-1"]
        for key in "abc":
            await write(eu, creates(key))
        old = await rows(eu)
        days_later(found, 91)
        await write(eu, sets("a", "description", "young"))
        await quiet(found)
        root = shop(eu).replica.root_hash()
        told = await trim(eu)
        assert told["rows_trimmed"] == len(old) == 3
        assert told["oldest_time"].endswith("Z")
        assert len(await rows(eu)) == 1
        assert not old & await rows(eu)
        assert shop(eu).replica.root_hash() == root
        assert (await trim(eu))["rows_trimmed"] == 3, "a second round finds nothing"


async def test_nothing_goes_before_its_time(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found:
        await write(found["eu-1"], creates("a"))
        days_later(found, 89)
        await quiet(found)
        assert (await trim(found["eu-1"]))["rows_trimmed"] == 0
        assert len(await rows(found["eu-1"])) == 1


async def test_nothing_goes_that_a_member_lacks(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found:
        eu = found["eu-1"]
        await write(eu, creates("a"))
        await quiet(found)
        found.cut("us-1")
        await write(eu, creates("b"))
        days_later(found, 200)
        await trio.sleep(30)
        assert (await trim(eu))["rows_trimmed"] == 1
        assert len(await rows(eu)) == 1
        found.mend("us-1")
        await quiet(found)
        assert shop(found["us-1"]).flag_keys() == ["a", "b"]


async def test_rows_go_by_themselves_every_hour(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found:
        for engine in found.engines.values():
            await write(engine, creates(engine.settings.name))
        days_later(found, 120)
        await quiet(found)
        await trio.sleep(INTERVAL_S)
        for engine in found.engines.values():
            assert await rows(engine) == set()
            assert engine.status()["log"][SHOP]["rows_trimmed"] == 2


async def test_a_node_starts_from_a_trimmed_log(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found:
        await write(found["us-1"], creates("a"))
        days_later(found, 120)
        await quiet(found)
        await trim(found["us-1"])
        await found.stop("us-1")
        again = await found.start("us-1")
        assert shop(again).flag_keys() == ["a"]
        assert again.status()["alarms"]["damaged"] == 0
        await until(lambda: level(list(found.engines.values())))


async def test_rows_do_not_go_while_somebody_else_works_at_the_old_end(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found, trio.open_nursery() as nursery:
        eu = found["eu-1"]
        await write(eu, creates("a"))
        days_later(found, 120)
        await quiet(found)
        async with shop(eu).log_turn:
            nursery.start_soon(trim, eu)
            await trio.sleep(10)
            assert len(await rows(eu)) == 1
        await trio.sleep(10)
        assert await rows(eu) == set()
