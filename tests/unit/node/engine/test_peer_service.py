"""What peers and strangers may ask of a node, and what they are told: an answer, or a refusal that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Place,
    Stranger,
    creates,
    node,
    pull,
    push,
    running,
    shop,
    state_of,
    write,
)
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.pen import CellWrite
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.gossip import messages
from vexil.node.gossip.digest import project_hash
from vexil.node.gossip.messages import Message
from vexil.node.membership import MEMBERS_MAX
from vexil.node.seams import JournalFull, PeerIdentity, PeerRefused

NOBODY = PeerIdentity("ap-7", "ap")
AS = "00000000000000aa"
URLS = {"peer_url": "p://new", "http_url": "h://new", "as": AS}


async def refusal(engine: Engine, caller: PeerIdentity, method: str, members: dict[str, object]) -> str:
    """The code with which it is refused; nothing must have changed."""
    before = state_of(engine)
    with pytest.raises(PeerRefused) as refused:
        await engine.peer_service.serve(caller, method, messages.encode(members))
    assert state_of(engine) == before
    return refused.value.code


async def answer(engine: Engine, caller: PeerIdentity, method: str, members: dict[str, object]) -> Message:
    return Message.decode(await engine.peer_service.serve(caller, method, messages.encode(members)))


METHODS = ["join", "digest", "pull", "push", "snapshot", "past"]


@pytest.mark.parametrize("method", [*METHODS, "", "PUSH"])
async def test_a_node_that_is_loading_answers_nobody(autojump_clock: object, method: str) -> None:
    place = Place()
    engine = place.engine()
    assert await refusal(engine, EU_2, method, {}) == "node.not_ready"
    assert await refusal(engine, NOBODY, method, {}) == "node.not_ready"


async def test_a_node_that_is_still_joining_sponsors_and_serves_nobody(autojump_clock: object) -> None:
    place = Place("us-1", seeds=("p://eu-1",))
    engine = place.engine()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await trio.sleep(5)
        assert place.board.calls
        assert set(place.board.calls) == {("us-1", "p://eu-1", "join")}
        assert not engine.ready
        for method in METHODS:
            assert await refusal(engine, NOBODY, method, dict(URLS)) == "node.not_ready"
        nursery.cancel_scope.cancel()


async def test_from_a_stranger_nothing_is_taken_and_to_it_nothing_is_told(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await write(engine, creates("secret"))
        stranger = Stranger()
        body: dict[str, object] = {"changes": {SHOP: [stranger.create("theirs").raw]}}
        assert await refusal(engine, NOBODY, "push", body) == "member.unknown"
        assert await refusal(engine, NOBODY, "pull", {"project": SHOP, "vv": []}) == "member.unknown"
        digest: dict[str, object] = {"wall_ms": 1, "ages": {}, "projects": {}}
        assert await refusal(engine, NOBODY, "digest", digest) == "member.unknown"
        assert shop(engine).flag_keys() == ["secret"]


async def test_an_unknown_method_is_refused_by_name(autojump_clock: object) -> None:
    async with node() as (_, engine):
        assert await refusal(engine, EU_2, "photograph", {}) == "method.unknown"


async def test_a_cut_link_refuses_before_it_looks(autojump_clock: object) -> None:
    async with node() as (_, engine):
        engine.links.set("eu-1", "eu-2", cut=True)
        with pytest.raises(PeerRefused) as refused:
            await engine.peer_service.serve(EU_2, "push", b"\xc1")
        assert refused.value.code == "link.cut"
        engine.links.set("eu-2", "eu-1", cut=False)
        assert await refusal(engine, EU_2, "nothing", {}) == "method.unknown"


async def test_a_push_with_one_impossible_project_changes_no_project(autojump_clock: object) -> None:
    async with node() as (_, engine):
        raw = Stranger().create("theirs").raw
        for name in ("", "../x", "_other", "a/b", "é"):
            body: dict[str, object] = {"changes": {SHOP: [raw], name: [raw]}}
            assert await refusal(engine, EU_2, "push", body) == "project.refused"
        assert shop(engine).flag_keys() == []


async def test_a_push_to_a_project_that_is_not_known_yet_is_kept(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await push(engine, [Stranger().create("theirs")], project="unheard")
        assert engine.projects["unheard"].replica.vv == {0x99: 1}
        assert engine.project("unheard") is None  # `_system` does not say that it exists


async def test_a_full_disk_refuses_a_push_and_nothing_is_applied(autojump_clock: object) -> None:
    async with node() as (place, engine):
        change = Stranger().create("theirs")
        place.disk.fill()
        body: dict[str, object] = {"changes": {SHOP: [change.raw]}}
        assert await refusal(engine, EU_2, "push", body) == "node.storage_full"
        assert place.kept.journal_full == 1
        place.disk.free()
        have = (await push(engine, [change])).vv_by_project("have")
        assert have == {SHOP: {0x99: 1}}


async def test_a_log_that_cannot_be_read_refuses_a_pull(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("a"))
        await engine.drain()
    place.disk.wipe()
    async with running(place.engine()) as engine:
        assert [len(page) for page in (await pull(engine, {}),)] == [1]  # from the region's store
        place.region.available = False
        body: dict[str, object] = {"project": SHOP, "vv": [], "page_bytes": 1_000}
        assert await refusal(engine, EU_2, "pull", body) == "node.log_unavailable"


async def test_a_pull_gives_what_is_missing_and_leaves_out_what_is_skipped(autojump_clock: object) -> None:
    async with node() as (_, engine):
        first, second = Stranger(0xA1), Stranger(0xA2)
        log = [first.create("a"), first.create("b"), second.create("c")]
        await push(engine, log)
        assert await pull(engine, {}) == [c.raw for c in log]
        assert await pull(engine, {0xA1: 1}) == [log[1].raw, log[2].raw]
        assert await pull(engine, {}, skip=[0xA1]) == [log[2].raw]
        assert await pull(engine, {0xA1: 2, 0xA2: (1 << 64) - 1}) == []
        assert await pull(engine, {0xA1: 1 << 63, (1 << 64) - 1: 1}) == [log[2].raw]
        assert (await answer(engine, EU_2, "pull", {"project": "none", "vv": []})).changes("changes") == []


async def test_a_page_is_as_large_as_was_asked_and_never_empty_while_there_is_more(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        stranger = Stranger()
        log = [stranger.create(f"f{n}") for n in range(5)]
        await push(engine, log)
        size = len(log[0].raw)
        for page_bytes, count in ((0, 1), (1, 1), (2 * size, 2), (5 * size + 9, 5), ((1 << 64) - 1, 5)):
            assert len(await pull(engine, {}, page_bytes=page_bytes)) == count


# -- joining


async def join(engine: Engine, caller: PeerIdentity, **urls: str) -> Message:
    return await answer(engine, caller, "join", {**URLS, **urls})


async def test_a_joiner_is_a_member_before_it_is_told_anything(autojump_clock: object) -> None:
    async with node() as (place, engine):
        told = await join(engine, NOBODY)
        assert (told.text("node"), told.text("region")) == ("eu-1", "eu")
        assert engine.directory.members["ap-7"].registered
        assert told.vv_by_project("projects") == {
            name: dict(project.replica.vv) for name, project in engine.projects.items()
        }
        assert not place.journal.waiting
        assert engine.peers["ap-7"].url == "p://new"


async def test_a_join_that_says_nothing_new_writes_nothing(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await join(engine, NOBODY)
        before = state_of(engine)
        await join(engine, NOBODY)
        assert state_of(engine) == before
        await join(engine, NOBODY, peer_url="p://moved")
        assert engine.peers["ap-7"].url == "p://moved"


IMPOSSIBLE = ["", "a/b", "-x", "x" * 65, "é", "a b", "_system", "x\n"]


@pytest.mark.parametrize("name", IMPOSSIBLE)
async def test_a_joiner_whose_name_or_region_cannot_be_one_is_refused(
    autojump_clock: object, name: str
) -> None:
    async with node() as (_, engine):
        assert await refusal(engine, PeerIdentity(name, "ap"), "join", dict(URLS)) == "member.invalid"
        assert await refusal(engine, PeerIdentity("ap-1", name), "join", dict(URLS)) == "member.invalid"


async def test_a_member_does_not_change_its_region(autojump_clock: object) -> None:
    async with node() as (_, engine):
        assert await refusal(engine, PeerIdentity("eu-2", "us"), "join", dict(URLS)) == "member.exists"
        assert engine.directory.members["eu-2"].region == "eu"


async def test_nobody_joins_under_the_name_of_the_node_that_it_asks(autojump_clock: object) -> None:
    async with node() as (_, engine):
        assert await refusal(engine, PeerIdentity("eu-1", "eu"), "join", dict(URLS)) == "member.exists"
        assert engine.directory.members["eu-1"].peer_url == "p://eu-1"


async def test_too_many_members_are_refused_and_those_there_are_may_still_move(
    autojump_clock: object,
) -> None:
    async with node() as (_, engine):
        record = {"region": "eu", "peer_url": "", "http_url": ""}
        missing = MEMBERS_MAX - len(engine.directory.members)
        writes = [CellWrite(f"member/m-{n}", NO_GENERATION, "record", record) for n in range(missing)]
        await engine.write("_system", lambda _: Intent(writes), author="test")
        assert await refusal(engine, NOBODY, "join", dict(URLS)) == "limit.members"
        await join(engine, EU_2, **{"as": ""})
        assert engine.peers["eu-2"].url == "p://new"


@pytest.mark.parametrize(
    "members",
    [{}, {"peer_url": "p"}, {"peer_url": 1, "http_url": "h"}, {"peer_url": "p" * 2_001, "http_url": ""}],
)
async def test_a_join_without_addresses_is_malformed(
    autojump_clock: object, members: dict[str, object]
) -> None:
    async with node() as (_, engine):
        assert await refusal(engine, NOBODY, "join", members) == "request.malformed"
        assert "ap-7" not in engine.directory.members


async def test_a_join_that_cannot_be_made_durable_is_refused(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.journal.fail(JournalFull("no room"))
        assert await refusal(engine, NOBODY, "join", dict(URLS)) == "node.not_ready"
        assert "ap-7" not in engine.directory.members
        await join(engine, NOBODY)
        assert engine.directory.members["ap-7"].registered


# -- digests


def digest_of(engine: Engine, ages: Sequence[str] = (), *, age_ms: int = 5) -> dict[str, object]:
    """A digest that says exactly what the engine has."""
    hashes = {name: project_hash(project) for name, project in engine.projects.items()}
    return {
        "wall_ms": engine.wall_ms(),
        "ages": dict.fromkeys(ages, age_ms),
        "projects": hashes,
        "incarnation": 7,
    }


async def test_while_nothing_differs_only_hashes_travel(autojump_clock: object) -> None:
    async with node() as (_, engine):
        told = await answer(engine, EU_2, "digest", digest_of(engine))
        assert told.heads_by_project("projects") == {}
        await write(engine, creates("a"))
        different = {**digest_of(engine), "projects": {}}
        heads = (await answer(engine, EU_2, "digest", different)).heads_by_project("projects")
        assert heads.keys() == {SHOP, "_system"}
        (seq, chain) = heads[SHOP][0][engine.incarnation]
        assert (seq, chain) == (1, shop(engine).replica.head(engine.incarnation))


async def test_ages_of_slots_that_are_no_members_are_not_kept_or_passed_on(autojump_clock: object) -> None:
    async with node() as (_, engine):
        for start in range(0, 3 * messages.PROJECTS_MAX, messages.PROJECTS_MAX):
            slots = [f"s-{n}" for n in range(start, start + messages.PROJECTS_MAX - 1)]
            await answer(engine, EU_2, "digest", digest_of(engine, [*slots, "eu-2"]))
        told = await answer(engine, EU_2, "digest", digest_of(engine))
        assert told.ages("ages").keys() == {"eu-1", "eu-2"}


async def test_a_joiner_that_is_ready_has_what_its_sponsor_had(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("a"))
        other = Place("us-1", board=place.board, seeds=("p://nobody", "p://eu-1"))
        async with running(other.engine()) as joined:
            assert joined.directory.members["us-1"].registered
            assert engine.directory.members["us-1"].registered
            assert state_of(joined)[SHOP] == state_of(engine)[SHOP]
            assert joined.projects[SHOP].flag_keys() == ["a"]
