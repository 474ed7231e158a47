"""How much the pipeline takes in at once: senders wait beyond it, local writes do not, and everything comes in."""

from __future__ import annotations

import pytest
import trio

from tests.unit.node.engine.world import (
    GatedJournal,
    Stranger,
    creates,
    node,
    push,
    shop,
    write,
)
from vexil.crdt.change import Change
from vexil.node import pipeline
from vexil.node.engine import Engine


def strangers(count: int, **fields: object) -> list[Change]:
    """Changes of as many incarnations, of which none waits for another."""
    return [Stranger(0xA000 + n).create(f"s{n}", **fields) for n in range(count)]


async def next_append(journal: GatedJournal) -> list[int]:
    """Let the append that waits go through, hold the one behind it: the incarnations of its records."""
    journal.let_go()
    journal.hold()
    await trio.sleep(0.01)
    return [record.incarnation for records in journal.waiting for record in records]


async def all_appends(engine: Engine, journal: GatedJournal) -> list[list[int]]:
    """Every append from the one that waits to the last, by the incarnations of its records."""
    appends = []
    while journal.waiting:
        appends.append([record.incarnation for records in journal.waiting for record in records])
        await next_append(journal)
    return appends


async def test_beyond_so_many_received_pages_senders_wait_and_all_of_them_come_in(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "QUEUED_REMOTE_MAX", 8)
    async with node() as (place, engine):
        changes = strangers(30)
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            for change in changes:
                nursery.start_soon(push, engine, [change])
            await trio.sleep(0.01)
            appends = await all_appends(engine, place.journal)
            place.journal.let_go()
        assert max(map(len, appends)) == 8
        assert sorted(i for append in appends for i in append) == [c.incarnation for c in changes]
        assert len(shop(engine).flag_keys()) == 30


async def test_a_sender_that_gives_up_leaves_its_place_to_another(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "QUEUED_REMOTE_MAX", 2)
    async with node() as (place, engine):
        first, abandoned, later = strangers(3)
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(push, engine, [first])
            await trio.sleep(0.01)
            with trio.move_on_after(0.01) as scope:
                await push(engine, [abandoned])
            assert scope.cancelled_caught
            nursery.start_soon(push, engine, [later])
            await trio.sleep(0.01)
            assert await next_append(place.journal) == [later.incarnation]
            place.journal.let_go()
        assert shop(engine).flag_keys() == ["s0", "s2"]
        await push(engine, [abandoned])
        assert shop(engine).flag_keys() == ["s0", "s1", "s2"]


@pytest.mark.parametrize(("bound", "value"), [("BATCH_CHANGES_MAX", 4), ("BATCH_BYTES_MAX", 4_000)])
async def test_received_changes_beyond_one_batch_are_in_the_next_and_a_local_write_waits_for_none_of_them(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(pipeline, bound, value)
    async with node() as (place, engine):
        changes = strangers(20, description="x" * 700)
        size = len(changes[0].raw)
        assert 3 * size < 4_000 < 4 * size
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, engine, creates("blocker"))
            await trio.sleep(0.01)
            for change in changes:
                nursery.start_soon(push, engine, [change])
            nursery.start_soon(write, engine, creates("mine"))
            await trio.sleep(0.01)
            appends = await all_appends(engine, place.journal)
            place.journal.let_go()
        own = engine.incarnation
        assert [len(append) for append in appends] == [1, 4 + 1, 4, 4, 4, 4]
        assert [append.count(own) for append in appends] == [1, 1, 0, 0, 0, 0]
        assert len(shop(engine).flag_keys()) == 22


async def test_local_writes_beyond_one_batch_are_in_the_next(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BATCH_BYTES_MAX", 4_000)
    async with node() as (place, engine):
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, engine, creates("blocker"))
            await trio.sleep(0.01)
            for n in range(10):
                nursery.start_soon(write, engine, creates(f"f{n}", description="x" * 700))
            await trio.sleep(0.01)
            appends = await all_appends(engine, place.journal)
            place.journal.let_go()
        assert [len(append) for append in appends] == [1, 4, 4, 2]
        assert len(shop(engine).flag_keys()) == 11
