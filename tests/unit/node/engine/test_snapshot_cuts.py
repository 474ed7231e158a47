"""The cuts of its state that a node keeps for readers: how many, for whom, how long, and of which instant."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio

from tests.unit.node.engine.snapshot_worlds import (
    Handle,
    make_pages_small,
    two,
)
from tests.unit.node.engine.world import (
    EU_2,
    FLAG,
    SHOP,
    creates,
    node,
    register,
    shop,
    write,
)
from vexil.crdt.snapshot_page import decode_page
from vexil.node.engine import Engine
from vexil.node.gossip import messages
from vexil.node.gossip import snapshots as serving
from vexil.node.gossip.messages import Message
from vexil.node.seams import PeerIdentity, PeerRefused


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of many pages, so that things can happen between them."""
    make_pages_small(monkeypatch)


async def begin(engine: Engine, caller: PeerIdentity = EU_2, project: str = SHOP) -> Message:
    """A new cut."""
    return await ask(engine, caller, project=project)


async def ask(engine: Engine, caller: PeerIdentity = EU_2, **members: object) -> Message:
    """One request for a snapshot. Raises PeerRefused."""
    raw = await engine.peer_service.serve(caller, "snapshot", messages.encode({"as": "", **members}))
    return Message.decode(raw)


async def test_as_many_cuts_are_kept_as_are_allowed_and_one_a_reader(autojump_clock: object) -> None:
    async with node() as (_, engine):
        readers = [PeerIdentity(f"ap-{n}", "ap") for n in range(serving.CUTS_SERVED_MAX + 1)]
        for reader in readers:
            await register(engine, reader)
        for reader in readers[:-1]:
            await begin(engine, reader)
            await begin(engine, reader)
        with pytest.raises(PeerRefused) as refused:
            await begin(engine, readers[-1])
        assert refused.value.code == "node.busy"
        await trio.sleep(2 * serving.CUT_KEPT_S)
        await begin(engine, readers[-1])
        assert engine.peer_service.snapshots.open_cuts == 1


async def test_a_cut_that_was_read_to_its_end_gives_way(autojump_clock: object) -> None:
    async with node() as (_, engine):
        readers = [PeerIdentity(f"ap-{n}", "ap") for n in range(serving.CUTS_SERVED_MAX + 1)]
        for reader in readers:
            await register(engine, reader)
        cuts = [(await begin(engine, reader)).integer("cut") for reader in readers[:-1]]
        keys = {"project": SHOP, "part": serving.KEYS, "after": b"", "at": 0}
        for _ in range(2):  # an answer may be lost: until its place is needed, it can be asked again
            assert not (await ask(engine, readers[0], cut=cuts[0], **keys)).flag("more")
        await begin(engine, readers[-1])
        with pytest.raises(PeerRefused) as refused:
            await ask(engine, readers[0], cut=cuts[0], **keys)
        assert refused.value.code == serving.EXPIRED
        assert not (await ask(engine, readers[1], cut=cuts[1], **keys)).flag("more")


async def test_a_cut_is_its_readers_alone(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await register(engine, PeerIdentity("ap-1", "ap"))
        cut = (await begin(engine)).integer("cut")
        page: dict[str, Any] = {"project": SHOP, "cut": cut, "part": "header", "after": b"", "at": 0}
        assert (await ask(engine, **page)).blob("page", limit_bytes=1 << 20)
        for other in (
            ask(engine, PeerIdentity("ap-1", "ap"), **page),
            ask(engine, **{**page, "project": "_system"}),
            ask(engine, **{**page, "cut": cut + 1}),
        ):
            with pytest.raises(PeerRefused) as refused:
                await other
            assert refused.value.code == "snapshot.expired"


async def test_a_state_that_the_store_does_not_hold_is_not_given_away(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.region.available = False
        await write(engine, creates("only here"), durability="node")
        with pytest.raises(PeerRefused) as refused:
            await begin(engine)
        assert refused.value.code == "node.busy"
        assert engine.peer_service.snapshots.open_cuts == 0
        place.region.available = True
        await trio.sleep(10)
        assert (await begin(engine)).integer("objects") == 1


async def test_a_cut_shows_one_instant_however_long_it_is_read(autojump_clock: object) -> None:
    async with node() as (_, engine):
        for number in range(30):
            await write(engine, creates(f"f{number:02}", description="x" * 300))
        told = await begin(engine)
        cut = told.integer("cut")
        names, cursor, more = [], (b"", 0), True
        while more:
            answer = await ask(
                engine, project=SHOP, cut=cut, part="objects", after=cursor[0], at=cursor[1], page_bytes=500
            )
            names += [row.object for row in decode_page(answer.blob("page", limit_bytes=1 << 20))]
            more = answer.flag("more")
            if more:
                cursor = (answer.blob("after", limit_bytes=1_000), answer.integer("at"))
            await write(engine, creates(f"later{len(names):04}"))
        assert sorted(set(names)) == [f"flag/f{number:02}" for number in range(30)]
        assert len(names) == 30 * len(FLAG) + 30


async def test_a_cut_is_dropped_when_nobody_reads_it(autojump_clock: object) -> None:
    async with two() as both:

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            if method == "snapshot" and request.get("part") == "objects":
                raise PeerRefused("project.refused", "no")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        with pytest.raises(PeerRefused):
            await both.pull()
        assert both.eu.peer_service.snapshots.open_cuts > 0
        await trio.sleep(2 * serving.CUT_KEPT_S)
        assert both.eu.peer_service.snapshots.open_cuts == 0
        with shop(both.eu).replica.cut() as cut:
            assert not cut.changed
