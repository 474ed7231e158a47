"""How durable a write is said to be: never more than was seen, and what cannot be had is refused beforehand."""

from __future__ import annotations

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Place,
    creates,
    deaf,
    hear,
    node,
    shop,
    state_of,
    taking,
    write,
)
from vexil.crdt.change import render_id
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.durability import WAIT_MS
from vexil.node.engine import Engine

WAIT_S = WAIT_MS / 1000


def rows_in(place: Place) -> int:
    """How many changes of ``shop`` the region's store has."""
    return len(place.region.log.whole(SHOP))


async def refused_beforehand(place: Place, engine: Engine, asked: str) -> None:
    """Refused at once, definitely, with nothing journalled and no dot used."""
    state, began = state_of(engine), trio.current_time()
    frames, next_seq = place.disk.frames, shop(engine).replica.vv.get(engine.incarnation, 0) + 1
    with pytest.raises(errors.DurabilityUnavailable) as refused:
        await write(engine, creates(f"refused-{asked}"), durability=asked)
    assert refused.value.definite
    assert (state_of(engine), place.disk.frames) == (state, frames)
    assert trio.current_time() - began < 0.1
    written = await write(engine, creates(f"after-{asked}"), durability="node")
    assert written.dot == (engine.incarnation, next_seq)


async def unknown_after_the_wait(engine: Engine, asked: str) -> None:
    """The write is there, but how durable it is cannot be said."""
    began = trio.current_time()
    with pytest.raises(errors.WriteIndeterminate) as told:
        await write(engine, creates(f"unknown-{asked}"), durability=asked)
    assert trio.current_time() - began == pytest.approx(WAIT_S, abs=0.1)
    seq = shop(engine).replica.vv[engine.incarnation]
    assert told.value.members["change"] == render_id((engine.incarnation, seq))
    assert shop(engine).flag(f"unknown-{asked}") is not None


# -- the embedded store


async def test_on_the_embedded_store_a_write_is_at_the_node(autojump_clock: object) -> None:
    async with node(Place(embedded=True)) as (place, engine):
        place.board.scripts["p://eu-2"] = taking
        for asked in ("", "node"):
            began = trio.current_time()
            assert (await write(engine, creates(f"f-{asked}x"), durability=asked)).durability == "node"
            assert trio.current_time() - began < 0.1


async def test_on_the_embedded_store_a_region_cannot_be_had(autojump_clock: object) -> None:
    async with node(Place(embedded=True)) as (place, engine):
        await refused_beforehand(place, engine, "region")


@pytest.mark.parametrize("embedded", [True, False])
async def test_a_peer_that_confirms_makes_it_peer(autojump_clock: object, embedded: bool) -> None:
    async with node(Place(embedded=embedded)) as (place, engine):
        place.board.scripts["p://eu-2"] = taking
        await hear(engine)
        assert (await write(engine, creates("a"), durability="peer")).durability == "peer"


async def test_peer_is_refused_while_no_other_node_is_in_reach(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await refused_beforehand(place, engine, "peer")  # never heard
        await hear(engine)
        await unknown_after_the_wait(engine, "peer")  # heard, but the push has met nobody
        await refused_beforehand(place, engine, "peer")
        await hear(engine)
        await trio.sleep(600)
        await refused_beforehand(place, engine, "peer")  # silent for too long


async def test_a_peer_that_does_not_confirm_leaves_it_unknown(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.board.scripts["p://eu-2"] = deaf
        await hear(engine)
        await unknown_after_the_wait(engine, "peer")


async def test_a_level_that_is_none_is_malformed_and_writes_nothing(autojump_clock: object) -> None:
    async with node() as (_, engine):
        for asked in ("quorum", "NODE", " "):
            with pytest.raises(errors.Malformed):
                await write(engine, creates("a"), durability=asked)
        assert shop(engine).replica.vv == {}


# -- a region's store


async def test_with_a_region_the_row_is_there_before_the_answer(autojump_clock: object) -> None:
    async with node() as (place, engine):
        for n, asked in enumerate(("", "region")):
            assert (await write(engine, creates(f"f{n}"), durability=asked)).durability == "region"
            assert rows_in(place) == n + 1
            row = await place.store().read_member("eu-1")
            assert row is not None
            assert row.vv[SHOP] == {engine.incarnation: n + 1}


async def test_who_asks_for_the_node_does_not_wait_for_the_region(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.region.available = False
        began = trio.current_time()
        assert (await write(engine, creates("a"), durability="node")).durability == "node"
        assert trio.current_time() - began < 0.1


async def test_while_the_region_is_away_a_peer_confirms(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.board.scripts["p://eu-2"] = taking
        await hear(engine)
        place.region.available = False
        assert (await write(engine, creates("first"))).durability == "peer"
        began = trio.current_time()
        assert (await write(engine, creates("second"))).durability == "peer"
        assert trio.current_time() - began < 0.1, "the store is known to be away by now"
        assert rows_in(place) == 0


async def test_alone_and_without_its_region_a_node_says_node(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.region.available = False
        assert (await write(engine, creates("a"))).durability == "node"
        assert shop(engine).flag_keys() == ["a"]


async def test_region_is_unknown_while_the_outage_is_news_and_refused_after(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("before"))
        await engine.drain()
        place.region.available = False
        await unknown_after_the_wait(engine, "region")
        await refused_beforehand(place, engine, "region")


async def test_the_backlog_drains_in_order_when_the_region_is_back(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.region.available = False
        for n in range(20):
            await write(engine, creates(f"f{n}"), durability="node")
        assert engine.status()["store"]["backlog"] == 20
        place.region.available = True
        await trio.sleep(10)
        assert engine.status()["store"] == {
            "kind": "simulated",
            "state": "available",
            "backlog": 0,
            "damaged_records": 0,
        }
        assert [row.seq for row in place.region.log.whole(SHOP)] == list(range(1, 21))
        assert (await write(engine, creates("after"))).durability == "region"


async def test_a_write_of_nothing_needs_no_durability(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.region.available = False
        written = await write(engine, lambda _: Intent(), durability="peer")
        assert written.change_id is None


async def test_a_replayed_write_waits_for_the_durability_that_its_retry_asks_for(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        place.region.available = False
        key = ("k", b"body")
        await write(engine, creates("a"), idempotency=key, durability="node")
        with pytest.raises(errors.WriteIndeterminate):
            await write(engine, creates("a"), idempotency=key, durability="region")
        place.region.available = True
        await trio.sleep(10)
        again = await write(engine, creates("a"), idempotency=key, durability="region")
        assert (again.durability, again.replayed) == ("region", True)
        assert engine.is_member(EU_2.node, "")
