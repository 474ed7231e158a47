"""Retirement: only what has ended for good, of which everybody has promised the same, leaves the vectors."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.unit.node.engine.clusters import Cluster, cluster, level, until
from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Stranger,
    creates,
    flag_writes,
    make_shop,
    node,
    push,
    shop,
    write,
)
from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.pen import CellWrite
from vexil.crdt.schema import CURRENT, RETIRED_OBJECT, member_object, retired_field
from vexil.node import membership, retirement
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.pipeline import RemoteJob
from vexil.node.seams import LogRecord
from vexil.node.stability import Stable

THREE = ("eu-1", "us-1", "ap-1")
LONG_S = 1_800


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


def everybody_level(found: Cluster) -> bool:
    engines = list(found.engines.values())
    return level(engines) and level(engines, "_system")


async def begins(engine: Engine, slot: str, incarnation: int) -> None:
    """`_system` says, in this engine's words, that a process has begun in ``slot``."""
    writes = membership.begin(node=slot, region=slot.partition("-")[0], incarnation=incarnation).writes
    await engine.write("_system", lambda _: Intent(writes), author="test")


def retired_anywhere(found: Cluster) -> set[int]:
    return {i for e in found.engines.values() for p in e.projects.values() for i in p.replica.retired}


async def test_two_processes_that_have_not_seen_each_other_begin_are_both_kept(
    autojump_clock: MockClock,
) -> None:
    async with cluster(*THREE) as found:
        found.cut("us-1")
        await begins(found["us-1"], "ap-1", 0x71)
        await begins(found["eu-1"], "ap-1", 0x72)
        found.mend("us-1")
        await until(lambda: everybody_level(found))
        for engine in found.engines.values():
            ended = engine.caretaker.retirement.ended()
            assert not ended & {0x71, 0x72}


async def test_an_incarnation_with_two_histories_is_never_retired(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await write(found["us-1"], creates("a"))
        old = found["us-1"].incarnation
        await until(lambda: everybody_level(found))
        for engine in found.engines.values():
            engine.forks.note(SHOP, old, "test")
        await found.stop("us-1")
        await found.start("us-1")
        found["us-1"].forks.note(SHOP, old, "test")
        await trio.sleep(LONG_S)
        assert retired_anywhere(found) == set()


async def test_a_record_that_waits_for_its_causes_keeps_its_incarnation_alive(
    autojump_clock: MockClock,
) -> None:
    """Its end is not what others have seen of it: what waits would be lost, acknowledged as it is."""
    async with cluster(*THREE) as found:
        await write(found["us-1"], creates("a"))
        old = found["us-1"].incarnation
        await until(lambda: everybody_level(found))
        stranger = await Stranger(0x51).follow(found["us-1"])
        unseen = stranger.create("unseen")
        waits = _of(stranger, old, "waits")
        await found.stop("us-1")
        await found.places["us-1"].journal.append([_record(waits)])
        again = await found.start("us-1")
        assert waits.dot in shop(again).waiting
        await trio.sleep(LONG_S)
        assert retired_anywhere(found) == set(), "us-1 holds its promises back"
        await again.pipeline.receive(_job(again, unseen))
        await until(lambda: "waits" in shop(found["eu-1"]).flag_keys())
        await until(lambda: shop(found["eu-1"]).replica.retired.get(old) == 2)


def _of(stranger: Stranger, incarnation: int, key: str) -> Change:
    """The next change of ``incarnation``, whose author has seen all that ``stranger`` has."""
    pen = type(stranger.pen)(stranger.replica, incarnation)
    return pen.write(flag_writes(key), hlc=1_800_000_000_000 << 16, author="x")


def _record(change: Change) -> LogRecord:
    return LogRecord(SHOP, change.incarnation, change.seq, change.raw)


def _job(engine: Engine, *changes: Change) -> RemoteJob:
    return RemoteJob(shop(engine), changes, "test")


async def test_only_the_first_node_that_may_be_running_writes(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await until(lambda: everybody_level(found))
        assert found["ap-1"].caretaker.writes_for_all
        assert not found["eu-1"].caretaker.writes_for_all
        await found.stop("ap-1")
        await until(lambda: found["eu-1"].caretaker.writes_for_all)
        assert not found["us-1"].caretaker.writes_for_all


async def test_many_are_retired_in_changes_of_bounded_size(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retirement, "RETIRE_MAX", 3)
    count = 7
    async with cluster("eu-1", "us-1") as found:
        first = found["eu-1"]
        found.cut("us-1")
        for i in range(count):
            await write(found["us-1"], creates(f"f{i}"))
            await found.stop("us-1")
            await found.start("us-1")
        found.mend("us-1")
        second = found["us-1"]
        await until(lambda: all(len(shop(e).replica.retired) == count for e in found.engines.values()))
        writers = [e for e in (first, second) if shop(e).replica.vv.get(e.incarnation)]
        assert sum(shop(e).replica.vv[e.incarnation] for e in writers) == 3
        assert len(shop(first).replica.vv) <= 2


async def test_nothing_ends_without_a_beginning_that_everybody_has(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await until(lambda: everybody_level(found))
        found.cut("ap-1")
        old = found["us-1"].incarnation
        await found.stop("us-1")
        await found.start("us-1")
        await until(lambda: level([found["eu-1"], found["us-1"]], "_system"))
        await trio.sleep(LONG_S)
        assert old not in found["eu-1"].caretaker.retirement.ended()
        found.mend("ap-1")
        await until(lambda: old in found["eu-1"].caretaker.retirement.ended())


@pytest.mark.parametrize("junk", [[1], {"a": 1}, "x"])
async def test_a_beginning_that_names_no_incarnation_ends_none(
    autojump_clock: MockClock, junk: object
) -> None:
    async with cluster(*THREE) as found:
        eu = found["eu-1"]
        written = [CellWrite(member_object("ap-1"), NO_GENERATION, CURRENT, junk)]
        await eu.write("_system", lambda _: Intent(written), author="test")

        def everybody_has_it() -> bool:
            promised = eu.caretaker.stability(eu.system)
            return isinstance(promised, Stable) and promised.vv == eu.system.replica.vv

        await until(everybody_has_it)
        assert found["ap-1"].incarnation not in eu.caretaker.retirement.ended()


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "in one batch"])
async def test_what_waits_for_an_incarnation_that_has_ended_without_it_is_no_fork(
    autojump_clock: MockClock, *, together: bool
) -> None:
    """A node is evicted while it is cut off: of what it sent last something has not come, and comes no more."""
    evicted, other = Stranger(0xE1), Stranger(0xA1)
    first, _, third = (evicted.create(key) for key in "abc")
    other.replica.apply(first)
    end = other.write([CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(0xE1), 1)])
    async with node() as (_, engine):
        await make_shop(engine, members=(EU_2,))
        await push(engine, [first])
        if together:
            await push(engine, [third, end])
        else:
            await push(engine, [third])
            assert list(shop(engine).waiting) == [third.dot]
            await push(engine, [end])
        await push(engine, [other.create("d")])
        assert not shop(engine).waiting
        assert shop(engine).flag_keys() == ["a", "d"]
        assert (engine.alarms.forks, engine.alarms.aside_count) == (0, 0)
        await push(engine, [third])
        assert engine.alarms.forks == 1, "whoever still sends it has another history"
