"""Whatever a peer answers, or does meanwhile: a repair changes nothing that it cannot decide, and comes to an end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgpack
import pytest
import trio

from tests.unit.node.engine.repair_worlds import (
    believe,
    flip,
    level,
    repaired,
    sound,
)
from tests.unit.node.engine.snapshot_worlds import (
    EU,
    Handle,
    state,
    two,
)
from tests.unit.node.engine.world import (
    check_roots,
    creates,
    sets,
    shop,
    write,
)
from vexil.crdt.cut import Cut
from vexil.crdt.hash_tree import HashTree
from vexil.node.gossip import repair as gossip
from vexil.node.gossip.messages import Message
from vexil.node.seams import PeerIdentity, PeerRefused


async def test_a_peer_that_has_moved_on_changes_nothing(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        flip(both.us, field="env/prod/default")
        believe(both.us)
        both.link(cut=True)
        await write(both.eu, creates("later"))
        both.link(cut=False)
        before = state(both.us)
        assert not await both.us.repairs.repair("shop", EU)
        assert state(both.us) == before
        assert both.us.status()["repairs"] == []
        await repaired(both)
        await repaired(both)
        sound(both)


async def test_what_is_written_meanwhile_stays_and_the_rest_is_mended(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, creates("second"))
        await level(both)
        flip(both.us, field="env/prod/default")
        flip(both.us, "second", field="env/prod/default")
        believe(both.us)

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            if method == "cells":
                both.wire.meddle = None
                await write(both.us, sets("second", "env/prod/default", "off"))
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        await both.us.repairs.repair("shop", EU)
        check_roots(both.us)
        second = shop(both.us).flag("second")
        assert second is not None
        assert second.environments["prod"].default == "off"
        first = shop(both.us).flag_set("prod").flags["first"]
        assert first == shop(both.eu).flag_set("prod").flags["first"]
        await repaired(both)
        await repaired(both)
        sound(both)


Alter = Callable[[dict[str, Any]], None]


def short_sums(answer: dict[str, Any]) -> None:
    answer["sums"] = answer["sums"][:-1]


def other_sums(answer: dict[str, Any]) -> None:
    answer["sums"] = bytes(len(answer["sums"]))


def no_sums(answer: dict[str, Any]) -> None:
    del answer["sums"]


def always_pending(answer: dict[str, Any]) -> None:
    answer["pending"] = True


def empty_page(answer: dict[str, Any]) -> None:
    answer["page"] = b"\x90"


def junk_page(answer: dict[str, Any]) -> None:
    answer["page"] = b"\x91\xc1"


def altered_page(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    cell = msgpack.unpackb(page[0][1][0][2][1])
    cell[2] += 1
    page[0][1][0][2][1] = msgpack.packb(cell)
    answer["page"] = msgpack.packb(page)


def another_object(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    page[-1][0] = "flag/zzz"
    answer["page"] = msgpack.packb(page)


def without_end(answer: dict[str, Any]) -> None:
    answer["more"], answer["after"], answer["at"] = True, b"", 0


def going_on_with_nothing(answer: dict[str, Any]) -> None:
    answer["page"] = b"\x90"
    answer["more"], answer["after"], answer["at"] = True, b"/zzzz", 9


@pytest.mark.parametrize(
    ("method", "alter"),
    [
        ("tree", short_sums),
        ("tree", other_sums),
        ("tree", no_sums),
        ("tree", always_pending),
        ("cells", empty_page),
        ("cells", junk_page),
        ("cells", altered_page),
        ("cells", another_object),
        ("cells", without_end),
        ("cells", going_on_with_nothing),
    ],
)
async def test_a_peer_that_answers_nonsense_changes_nothing(
    method: str, alter: Alter, autojump_clock: object
) -> None:
    async with two(behind=False) as both:
        await level(both)
        flip(both.us, field="env/prod/default")
        believe(both.us)
        before = state(both.us)
        asked = 0

        async def meddle(called: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal asked
            raw = await hand_on(msgpack.packb(request))
            if called != method:
                return raw
            asked += 1
            answer = msgpack.unpackb(raw)
            alter(answer)
            return bytes(msgpack.packb(answer))

        both.wire.meddle = meddle
        assert not await both.us.repairs.repair("shop", EU)
        assert 0 < asked <= gossip.ASKS_MAX
        assert state(both.us) == before
        assert both.us.status()["repairs"] == []
        both.wire.meddle = None
        await repaired(both)
        sound(both)


async def test_tries_that_bring_nothing_come_less_and_less_often(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        flip(both.us, field="env/prod/default")
        believe(both.us)
        asked_s: list[float] = []

        async def meddle(called: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            if called == "tree":
                asked_s.append(trio.current_time())
                raise PeerRefused("node.busy", "no")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        for _ in range(600):
            both.us.repairs.want("shop", EU)
            await trio.sleep(1)
        assert 3 < len(asked_s) < 15
        pauses = [after - before for before, after in pairwise(asked_s)]
        assert pauses[-1] > 10 * pauses[0]


async def test_a_tree_is_refused_by_reason(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await level(both)
        replica = shop(both.us).replica

        async def code(method: str, **members: object) -> str:
            try:
                await both.us._exchange.call(both.peer, method, members)
            except PeerRefused as refused:
                return refused.code
            return ""

        own = replica.vv_hash()
        choice = bytes(128)
        assert await code("tree", project="nothing", vv_hash=own) == "project.unknown"
        assert await code("tree", project="shop", vv_hash="0" * 32) == "project.moved"
        assert (
            await code("cells", project="shop", vv_hash=own, buckets=choice, after=b"", at=0)
            == "project.moved"
        )
        assert await code("tree", project="shop", vv_hash=own) == ""
        assert both.eu.peer_service.repairs.open_cuts == 1
        assert await code("cells", project="shop", vv_hash=own, buckets=choice, after=b"", at=0) == ""
        assert (
            await code("cells", project="shop", vv_hash=own, buckets=b"", after=b"", at=0)
            == "request.malformed"
        )
        for after, at in ((b"\xff", 0), (b"", 1 << 63)):
            asked = {"project": "shop", "vv_hash": own, "buckets": choice, "after": after, "at": at}
            assert await code("cells", **asked) == "request.malformed"
        everything = bytes([255]) * 128
        beyond = {"project": "shop", "vv_hash": own, "buckets": everything, "after": b"/zzz", "at": 1 << 60}
        assert await code("cells", **beyond) == ""
        await trio.sleep(2 * gossip.KEPT_S)
        assert both.eu.peer_service.repairs.open_cuts == 0
        assert (
            await code("cells", project="shop", vv_hash=own, buckets=choice, after=b"", at=0)
            == "project.moved"
        )


async def test_a_reader_that_comes_with_another_vector_while_trees_are_made_gets_the_new_one(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = trio.Event(), trio.Event()
    build = gossip.build

    async def held(cut: Cut, going_on: Callable[[], bool]) -> HashTree:
        begun.set()
        await go_on.wait()
        return await build(cut, going_on)

    async with two(behind=False) as both, trio.open_nursery() as nursery:
        monkeypatch.setattr(gossip, "build", held)
        repairs = both.eu.peer_service.repairs
        replica = shop(both.eu).replica

        async def ask(slot: str) -> bool:
            """Whether there are sums by now."""
            message = Message({"project": "shop", "vv_hash": replica.vv_hash()})
            raw = await repairs.serve(PeerIdentity(slot, "ap"), "tree", message)
            return "sums" in msgpack.unpackb(raw)

        nursery.start_soon(ask, "ap-1")
        nursery.start_soon(ask, "ap-2")
        await begun.wait()
        await write(both.eu, creates("later"))
        assert not await ask("ap-2")
        go_on.set()
        with trio.fail_after(30):
            while not await ask("ap-2"):  # noqa: ASYNC110 - as a peer asks, too
                await trio.sleep(0.1)
        assert both.eu.ready
