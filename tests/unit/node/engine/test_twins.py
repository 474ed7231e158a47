"""Two processes run as one member, on copies of one folder: both go on, and nothing is promised for them meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.unit.node.engine.clusters import Cluster, cluster, level, until
from tests.unit.node.engine.world import SHOP, Place, creates, running, sets, shop, write
from vexil.node.collector import holds_garbage
from vexil.node.engine import Engine

COPIED = "us-1"
TWO = ("eu-1", COPIED)
QUIET_S = 300


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@asynccontextmanager
async def twins(found: Cluster) -> AsyncIterator[tuple[Engine, Engine]]:
    """`COPIED`, and a process beside it on a copy of its folder. The copy is the one that can be called."""
    place = found.places[COPIED]
    await found.stop(COPIED)
    copied = Place(COPIED, board=found.board, seeds=place.seeds, digests=True)
    copied.disk, copied.region = deepcopy((place.disk, place.region))
    copied._starts = 1_000  # its processes draw other numbers
    original = await found.start(COPIED)
    async with running(copied.engine()) as copy:
        await until(lambda: all(e.status()["alarms"]["twins"] for e in (original, copy)))
        yield original, copy


def blockers(engine: Engine) -> list[dict[str, Any]]:
    return list(engine.status()["garbage"][SHOP]["blocked_by"])


def waste(engine: Engine) -> list[str]:
    replica = shop(engine).replica
    return [name for name in replica.objects if holds_garbage(replica.cells(name))]


async def test_both_write_on_and_neither_is_taken_for_an_old_copy_by_what_the_other_promises(
    autojump_clock: MockClock,
) -> None:
    async with cluster(*TWO) as found:
        await write(found[COPIED], creates("a"))
        await until(lambda: level(list(found.engines.values())))
        async with twins(found) as (original, copy):
            await until(lambda: {e.enrolment.standing for e in (original, copy)} == {"member"})
            restored = [e.status()["alarms"]["restored"] for e in (original, copy)]
            for number in range(5):
                await write(original, sets("a", "description", f"{number}"))
                await write(copy, creates(f"copy-{number}"))
                await until(lambda: level([found["eu-1"], original, copy]))
                await trio.sleep(20)
            assert [e.status()["alarms"]["restored"] for e in (original, copy)] == restored
            assert [e.status()["alarms"]["twins"] for e in (original, copy)] == [1, 1]


async def test_garbage_waits_while_a_member_is_two_processes_and_goes_when_it_is_one_again(
    autojump_clock: MockClock,
) -> None:
    async with cluster(*TWO) as found:
        await write(found[COPIED], creates("a"))
        await until(lambda: level(list(found.engines.values())))
        eu = found["eu-1"]
        async with twins(found) as (original, copy):
            original.links.set(COPIED, "eu-1", cut=True)
            for number in range(5):
                await write(eu, sets("a", "description", f"{number}"))
            await until(lambda: level([eu, copy]))
            await trio.sleep(QUIET_S)
            assert not level([eu, original])
            floor = shop(eu).replica.floor
            assert all(shop(original).replica.vv.get(i, 0) >= seq for i, seq in floor.items())
            assert [(b["node"], b["twins"]) for b in blockers(eu)] == [(COPIED, True)]
            assert waste(eu) == waste(copy) == ["flag/a"]
            original.links.set(COPIED, "eu-1", cut=False)
            await until(lambda: level([eu, original, copy]))
        await found.stop(COPIED)
        await found.start(COPIED)
        await until(lambda: not waste(eu) and not waste(found[COPIED]))
        assert blockers(eu) == []


async def test_twins_that_have_said_so_are_quiet(autojump_clock: MockClock) -> None:
    async with cluster(*TWO) as found:
        await write(found[COPIED], creates("a"))
        async with twins(found) as (original, copy):
            await until(lambda: level([found["eu-1"], original, copy]))
            await trio.sleep(60)
            digests = {e.announcements.digest() for e in (found["eu-1"], original, copy)}
            assert len(digests) == 1
            calls = [method for _, _, method in found.board.calls].count("announce")
            await trio.sleep(QUIET_S)
            assert [method for _, _, method in found.board.calls].count("announce") == calls
