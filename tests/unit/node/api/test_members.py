"""Members over HTTP: the list, evictions, and coming back."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.unit.node.api.nodes import (
    OWNER_KEY,
    Client,
    KeptLog,
    Served,
    make_app,
    make_engine,
    serving,
)
from vexil.chaos.world.simulated_clock import SeededEntropy, SimulatedClock
from vexil.chaos.world.simulated_disk import SimulatedDisk
from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.pen import CellWrite
from vexil.node.api.bootstrap import bootstrap_owner_key
from vexil.node.authoring import Intent
from vexil.node.engine_types import MustReturn
from vexil.node.membership import registration
from vexil.node.metrics import Metrics
from vexil.node.seams import PeerRefused

MEMBERS = "/api/v1/members"
US = "00000000000000aa"


async def add(node: Served, name: str = "us-1", region: str = "us", number: str = US) -> None:
    """Make somebody a member, as a sponsor would."""
    await node.engine.write(
        "_system",
        lambda _: registration(
            node.engine.directory,
            node=name,
            region=region,
            peer_url=f"p://{name}",
            http_url=f"h://{name}",
            registration=number,
        ),
        author="test",
    )


async def test_members_are_listed_by_name_with_what_is_known_of_them(autojump_clock: object) -> None:
    async with serving() as node:
        await add(node)
        listed = (await node.owner.get(MEMBERS)).json
        assert listed["next_page_token"] is None
        own, other = listed["items"]
        assert own == {
            "node": "eu-1",
            "region": "eu",
            "registration": node.engine.registration,
            "state": "self",
            "url": "h://eu-1",
            "peer_url": "p://eu-1",
            "last_heard_ms": 0,
            "announced_ms": own["announced_ms"],
            "blocks_garbage": own["blocks_garbage"],
        }
        assert (other["node"], other["registration"], other["state"]) == ("us-1", US, "unheard")
        assert other["last_heard_ms"] is None


async def test_the_list_comes_in_pages(autojump_clock: object) -> None:
    async with serving() as node:
        for number in range(1, 4):
            await add(node, f"us-{number}", number=f"{number:016x}")
        first = (await node.owner.get(f"{MEMBERS}?page_size=3")).json
        rest = (await node.owner.get(f"{MEMBERS}?page_size=3&page_token={first['next_page_token']}")).json
        assert [m["node"] for m in first["items"] + rest["items"]] == ["eu-1", "us-1", "us-2", "us-3"]
        assert rest["next_page_token"] is None


async def test_an_evicted_member_stays_in_the_list_and_is_no_peer(autojump_clock: object) -> None:
    async with serving() as node:
        await add(node)
        assert "us-1" in node.engine.peers
        evicted = await node.owner.post(f"{MEMBERS}/us-1/evict")
        assert evicted.status == 200
        assert evicted.json["change"]["id"]
        (other,) = [m for m in (await node.owner.get(MEMBERS)).json["items"] if m["node"] == "us-1"]
        assert (other["state"], other["registration"]) == ("evicted", US)
        assert "us-1" not in node.engine.peers
        assert [m["node"] for m in (await node.owner.get("/api/v1/status")).json["members"]] == ["eu-1"]
        (of_us,) = [r for r in node.engine.directory.registrations() if r.slot == "us-1"]
        assert of_us.registration == US
        assert of_us.evicted_by is not None


async def test_evicting_twice_writes_nothing_the_second_time(autojump_clock: object) -> None:
    async with serving() as node:
        await add(node)
        await node.owner.post(f"{MEMBERS}/us-1/evict")
        before = node.root_hashes()
        again = await node.owner.post(f"{MEMBERS}/us-1/evict")
        assert (again.status, again.json) == (200, {"node": "us-1", "change": None})
        assert node.root_hashes() == before


async def test_one_idempotency_key_is_one_eviction(autojump_clock: object) -> None:
    async with serving() as node:
        await add(node)
        key = {"Idempotency-Key": "once"}
        first = await node.owner.post(f"{MEMBERS}/us-1/evict", headers=key)
        second = await node.owner.post(f"{MEMBERS}/us-1/evict", headers=key)
        assert second.json["change"] == first.json["change"]


async def test_an_unknown_member_cannot_be_evicted(autojump_clock: object) -> None:
    async with serving() as node:
        await add(node)
        await node.name_incarnation(7, node="ap-9", region="ap")  # begun, but nobody has registered it
        before = node.root_hashes()
        for name in ("ap-1", "ap-9", "_system", "%F0%9F%9A%A9", "x" * 200):
            refused = await node.owner.post(f"{MEMBERS}/{name}/evict")
            assert (refused.status, refused.code) == (404, "member.not_found"), name
        assert (await node.owner.post(f"{MEMBERS}/a%2Fb/evict")).status == 404
        assert node.root_hashes() == before


async def test_a_node_evicts_neither_itself_nor_the_last_member(autojump_clock: object) -> None:
    async with serving() as node:
        before = node.root_hashes()
        last = await node.owner.post(f"{MEMBERS}/eu-1/evict")
        assert (last.status, last.code) == (409, "member.last")
        assert node.root_hashes() == before
        await add(node)
        itself = await node.owner.post(f"{MEMBERS}/eu-1/evict")
        assert (itself.status, itself.code) == (409, "member.self")
        await node.owner.post(f"{MEMBERS}/us-1/evict")
        # An evicted one is no member: eu-1 is the last again.
        assert (await node.owner.post(f"{MEMBERS}/eu-1/evict")).code == "member.last"


async def test_only_an_owner_of_all_projects_evicts(autojump_clock: object) -> None:
    async with serving() as node:
        await add(node)
        editor = await node.make_key(kind="admin", role="editor")
        of_one = await node.make_key(kind="admin", role="owner", project="shop")
        for path in (f"{MEMBERS}/us-1/evict", f"{MEMBERS}/return"):
            for caller in (editor, of_one, node.server):
                assert (await caller.post(path)).status == 403
            assert (await node.nobody.post(path)).status == 401
        assert (await node.nobody.get(MEMBERS)).status == 401
        assert node.engine.directory.members["us-1"].registered


async def test_a_member_need_not_return(autojump_clock: object) -> None:
    async with serving() as node:
        refused = await node.owner.post(f"{MEMBERS}/return")
        assert (refused.status, refused.code) == (409, "member.registered")
        assert node.engine.ready


async def test_an_evicted_node_refuses_writes_reads_on_says_stale_and_returns_when_asked(
    autojump_clock: object,
) -> None:
    async with evictable() as (node, ended):
        await node.flag("kept")
        node.engine.enrolment.told(PeerRefused("member.evicted", "eu-1 was evicted"))
        assert (await node.owner.get("/api/v1/status")).json["standing"] == "evicted"
        refused = await node.owner.post("/api/v1/projects/shop/flags", {"key": "b", "type": "boolean"})
        assert (refused.status, refused.code) == (503, "node.not_ready")
        assert "vexil member return" in refused.json["detail"]
        assert refused.json["definite"] is True
        killed = await node.owner.post("/api/v1/projects/shop/flags/kept/environments/prod/kill")
        assert killed.status == 503
        read = await node.owner.get("/api/v1/projects/shop/flags/kept")
        assert read.status == 200
        assert "eu" in read.headers["Vexil-Stale"].split(";")
        accepted = await node.owner.post(f"{MEMBERS}/return")
        assert (accepted.status, accepted.json) == (202, {"node": "eu-1", "standing": "joining"})
        with trio.fail_after(1):
            await ended.wait()
        (must,) = node.ended_by
        assert (must.registration, must.keep) == (node.engine.registration, True)


async def test_what_a_stranger_says_ends_nobody(autojump_clock: object) -> None:
    async with serving() as node:
        for code in ("member.unknown", "member.exists", "auth.failed", "node.not_ready"):
            node.engine.enrolment.told(PeerRefused(code, "no"))
        assert node.engine.enrolment.standing == "member"
        await node.flag("a")


async def test_a_restored_node_takes_no_writes_until_a_later_exchange_has_levelled_it(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        began_s = trio.current_time()
        await trio.sleep(1)
        node.engine.enrolment.overtaken()
        refused = await node.owner.post("/api/v1/projects/shop/flags", {"key": "b", "type": "boolean"})
        assert (refused.status, refused.code) == (503, "node.not_ready")
        assert (await node.owner.get("/api/v1/status")).json["alarms"]["restored"] == 1
        node.engine.levelled(asked_s=began_s)  # it had begun before: it cannot know
        assert node.engine.status()["standing"] == "restored"
        await trio.sleep(1)
        node.engine.levelled(asked_s=trio.current_time())
        assert node.engine.status()["standing"] == "member"
        await node.flag("a")
        node.log.lines.clear()


JUNK = [
    ("member/us-1", "record", 5),
    ("member/us-1", "record", {"region": 7, "registration": ["x"], "peer_url": None}),
    ("member/us-1", "record", {"region": "../..", "registration": "NOT-HEX", "http_url": "\u202e"}),
    ("member/us-1", "record", {"region": "us", "registration": "zz" * 4_000}),
    ("member/../eu-1", "record", {"region": "us", "registration": US}),
    ("member/", "record", {"region": "us", "registration": US}),
    ("member/us-1", "evicted/", {"by": "x"}),
    ("member/us-1", "evicted/../../x", {"by": "x"}),
    ("member/us-1", f"evicted/{US}", None),
    ("member/us-1", "evicted", 3),
    ("member/us-1", f"evicted/{US.upper()}", 3),
]


@pytest.mark.parametrize(("name", "field", "value"), JUNK)
async def test_junk_among_the_members_harms_nobody_and_can_be_evicted(
    autojump_clock: object, name: str, field: str, value: object
) -> None:
    async with serving() as node:
        intent = Intent([CellWrite(name, NO_GENERATION, field, value)])
        await node.engine.write("_system", lambda _: intent, author="junk")
        listed = await node.owner.get(MEMBERS)
        assert listed.status == 200
        assert listed.json["items"][0]["node"] == "eu-1"
        assert (await node.owner.get("/api/v1/status")).status == 200
        assert node.engine.enrolment.standing == "member"
        for found in node.engine.directory.registrations():
            assert found.registration == "" or schema.is_registration(found.registration)
        await node.flag("a")
        if any(m["node"] == "us-1" and m["state"] != "evicted" for m in listed.json["items"]):
            assert (await node.owner.post(f"{MEMBERS}/us-1/evict")).status == 200
            assert not node.engine.directory.members["us-1"].registered


class Evictable(Served):
    """A node whose engine may end."""

    ended_by: list[MustReturn]


@asynccontextmanager
async def evictable() -> AsyncIterator[tuple[Evictable, trio.Event]]:
    """As `serving`, for an engine that is going to end: with how it ended, and when."""
    log, metrics, clock = KeptLog(), Metrics(), SimulatedClock()
    disk = SimulatedDisk(random.Random(5))
    engine = make_engine(log, metrics, disk, clock)
    ended = trio.Event()
    ended_by: list[MustReturn] = []

    async def run() -> None:
        try:
            await engine.run()
        except MustReturn as error:
            ended_by.append(error)
            ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await engine.until_ready()
        await bootstrap_owner_key(engine, OWNER_KEY, entropy=SeededEntropy(random.Random(23)))
        app = make_app(engine, log, metrics, clock=clock)
        owner, nobody = Client(app, OWNER_KEY), Client(app, None)
        made = await owner.put("/api/v1/projects/shop", {"environments": ["dev", "prod"]})
        assert made.status == 201, made
        node = Evictable(engine, app, log, metrics, disk, clock, owner, nobody, nobody, nobody)
        node.ended_by = ended_by
        yield node, ended
        nursery.cancel_scope.cancel()
