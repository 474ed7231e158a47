"""What a node says of itself, in every state: whole, of the right types, and from memory alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Place,
    Stranger,
    creates,
    deaf,
    hear,
    make_shop,
    node,
    push,
    register,
    running,
    write,
)
from vexil.chaos.world.simulated_store import SimulatedStore
from vexil.node.engine import Engine
from vexil.node.seams import PeerIdentity

US_1 = PeerIdentity("us-1", "us")
HEX_16 = re.compile(r"[0-9a-f]{16}")
HEX_32 = re.compile(r"[0-9a-f]{32}")
STATES = {"self", "unheard", "alive", "unreachable", "suspected"}


def whole(engine: Engine) -> dict[str, Any]:
    """The status, after a look at every member that is promised; it is plain JSON."""
    told = engine.status()
    assert json.loads(json.dumps(told)) == told
    assert (told["node"], told["region"]) == ("eu-1", "eu")
    assert HEX_16.fullmatch(told["incarnation"])
    assert isinstance(told["version"], str)
    assert type(told["ready"]) is bool
    store = told["store"]
    assert isinstance(store["kind"], str)
    assert store["state"] in {"available", "unavailable"}
    assert type(store["backlog"]) is int
    assert type(store["damaged_records"]) is int
    assert type(told["clock"]["offset_ms"]) is int
    assert type(told["clock"]["suspect"]) is bool
    for project in told["projects"].values():
        assert HEX_32.fullmatch(project["vv_hash"])
        assert HEX_32.fullmatch(project["root_hash"])
        for count in ("flags", "changes", "conflicts", "quarantined", "not_exportable", "waiting"):
            assert type(project[count]) is int, count
            assert project[count] >= 0
    for member in told["members"]:
        assert isinstance(member["node"], str)
        assert isinstance(member["region"], str)
        assert member["state"] in STATES
        assert member["incarnation"] is None or HEX_16.fullmatch(member["incarnation"])
        assert type(member["behind_changes"]) is int
        for age in ("known_ms", "last_heard_ms", "behind_ms"):
            assert member[age] is None or (type(member[age]) is int and member[age] >= 0)
    for lags in told["lag_ms"].values():
        assert lags.keys() == {"p50", "p99", "max"}
        assert 0 <= lags["p50"] <= lags["p99"] <= lags["max"]
    for age in told["as_of_age_ms"].values():
        assert age is None or (type(age) is int and age >= 0)
    assert all(isinstance(region, str) for region in told["stale_regions"])
    assert told["alarms"].keys() >= {"forks", "divergences", "aside"}
    assert all(type(count) is int for count in told["alarms"].values())
    assert isinstance(told["links_cut"], list)
    return told


def member(told: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [m for m in told["members"] if m["node"] == name]
    return dict(found)


async def test_before_anything_is_loaded(autojump_clock: object) -> None:
    told = whole(Place().engine())
    assert told["ready"] is False
    assert told["store"] == {
        "kind": "simulated",
        "state": "unavailable",
        "backlog": 0,
        "damaged_records": 0,
    }
    assert told["projects"] == {}
    assert told["members"] == []


async def test_while_it_waits_to_be_let_in(autojump_clock: object) -> None:
    place = Place("eu-1", seeds=("p://nobody",))
    engine = place.engine()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await trio.sleep(10)
        told = whole(engine)
        assert (told["ready"], told["members"]) == (False, [])
        nursery.cancel_scope.cancel()


async def test_ready_with_peers_in_every_state(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await register(engine, US_1)
        await write(engine, creates("a"))
        told = whole(engine)
        assert told["ready"] is True
        assert told["projects"].keys() == {SHOP, "_system"}
        shop = told["projects"][SHOP]
        assert (shop["flags"], shop["changes"], shop["conflicts"], shop["quarantined"]) == (1, 1, 0, 0)
        own = member(told, "eu-1")
        assert (own["state"], own["incarnation"]) == ("self", f"{engine.incarnation:016x}")
        assert (own["last_heard_ms"], own["behind_ms"], own["behind_changes"]) == (0, 0, 0)
        assert own["known_ms"] is None
        assert member(told, "us-1")["last_heard_ms"] is None
        assert member(told, "us-1")["known_ms"] < 1_000
        place.board.scripts["p://eu-2"] = deaf
        await hear(engine)
        await hear(engine, US_1)
        assert member(whole(engine), "eu-2")["state"] == "alive"
        await write(engine, creates("b"))  # its push to us-1 meets nobody
        await trio.sleep(2)
        told = whole(engine)
        assert member(told, "us-1")["state"] == "unreachable"
        assert member(told, "us-1")["last_heard_ms"] == pytest.approx(2_000, abs=50)
        assert member(told, "us-1")["known_ms"] >= 2_000
        silent = engine.peers["eu-2"]
        assert silent.heard_s is not None
        silent.interval_s, silent.heard_s = 1.0, silent.heard_s - 600  # its digests were due every second
        assert member(whole(engine), "eu-2")["state"] == "suspected"


async def test_a_member_that_has_more_than_we_have_shows_how_far_we_are_behind(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        engine.peers[EU_2.node].vv[SHOP] = {0x99: 5}
        assert member(whole(engine), "eu-2")["behind_changes"] == 5
        stranger = Stranger()
        await push(engine, [stranger.create("a"), stranger.create("b")])
        assert member(whole(engine), "eu-2")["behind_changes"] == 3


async def test_cut_off_it_says_so_and_goes_on(autojump_clock: object) -> None:
    async with node(Place(digests=True)) as (place, engine):
        await register(engine, US_1)
        place.board.scripts["p://us-1"] = deaf
        await trio.sleep(20)
        told = whole(engine)
        assert member(told, "us-1")["state"] == "alive"
        engine.links.set("eu", "us", cut=True)
        await write(engine, creates("a"))
        await trio.sleep(60)
        told = whole(engine)
        assert told["ready"] is True
        assert told["links_cut"] == [["eu", "us"]]
        assert member(told, "us-1")["state"] == "unreachable"
        assert told["as_of_age_ms"].keys() == {"eu", "us"}
        assert "us" in told["stale_regions"]


async def test_while_the_store_is_away(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.region.available = False
        for key in "abc":
            await write(engine, creates(key), durability="node")
        await trio.sleep(10)
        told = whole(engine)
        assert told["ready"] is True
        assert told["store"] == {
            "kind": "simulated",
            "state": "unavailable",
            "backlog": 3,
            "damaged_records": 0,
        }
        place.region.available = True
        await trio.sleep(30)
        assert whole(engine)["store"] == {
            "kind": "simulated",
            "state": "available",
            "backlog": 0,
            "damaged_records": 0,
        }


async def test_damage_that_the_store_has_found_in_its_log_is_told(autojump_clock: object) -> None:
    place = Place()
    store = SimulatedStore(place.region, place.name)
    async with running(place.engine(store=store)) as engine:
        assert whole(engine)["store"]["damaged_records"] == 0
        store.damaged_records = 3
        assert whole(engine)["store"]["damaged_records"] == 3


async def test_alarms_and_what_waits_are_counted(autojump_clock: object) -> None:
    async with node() as (_, engine):
        theirs, other = Stranger(0xA1), Stranger(0xA1)
        other.create("x")
        await push(engine, [theirs.create("a"), other.log[0]])
        waiting = Stranger(0xA2)
        waiting.create("b")
        await push(engine, [b"junk", waiting.create("c")])
        told = whole(engine)
        counted = told["alarms"]
        assert (counted["forks"], counted["divergences"], counted["aside"]) == (1, 0, 2)
        assert told["projects"][SHOP]["waiting"] == 1


async def test_lag_is_told_by_the_region_that_a_change_comes_from(autojump_clock: object) -> None:
    async with node() as (place, engine):
        far = Place("us-1", board=place.board, seeds=("p://eu-1",))
        async with running(far.engine()) as there:
            place.clock.step(500)
            await write(there, creates("a"))
            await trio.sleep(10)
        told = whole(engine)
        assert told["lag_ms"].keys() == {"us"}
        assert told["lag_ms"]["us"]["max"] >= 500


async def test_status_needs_neither_store_nor_peers_nor_disk(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        await make_shop(engine)
        place.region.available = False
        place.disk.fill()
        engine.links.set("eu", "us", cut=True)
        calls, frames = len(place.board.calls), place.disk.frames
        whole(engine)
        assert (len(place.board.calls), place.disk.frames) == (calls, frames)
