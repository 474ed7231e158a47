"""Garbage in a cluster of real engines: it goes when everybody has what it is garbage of, and never before."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.unit.node.engine.clusters import Cluster, cluster, level, until
from tests.unit.node.engine.world import SHOP, check_roots, creates, register, sets, shop, write
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.node import membership
from vexil.node.authoring import etag_of
from vexil.node.authoring.intent import Intent
from vexil.node.collector import holds_garbage
from vexil.node.engine import Engine
from vexil.node.project import Project
from vexil.node.seams import PeerIdentity

THREE = ("eu-1", "us-1", "ap-1")


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


def removes(key: str) -> Any:
    """Decides to delete a flag: a tombstone in the existence of every generation that is there."""

    def decide(project: Project) -> Intent:
        name = f"flag/{key}"
        return Intent([CellWrite(name, g, "exists", TOMBSTONE) for g in project.replica.cells(name)])

    return decide


def garbage(engine: Engine) -> dict[str, Any]:
    return dict(engine.status()["garbage"][SHOP])


def waste(engine: Engine) -> list[str]:
    replica = shop(engine).replica
    return [name for name in replica.objects if holds_garbage(replica.cells(name))]


def shown(engine: Engine) -> dict[str, Any]:
    """All that a reader can see of the project: documents, ETags, the root hash, canonical bytes."""
    project = shop(engine)
    return {
        "flags": {
            key: (project.flag(key), etag_of(project.replica.cells(f"flag/{key}")))
            for key in project.flag_keys()
        },
        "root": project.replica.root_hash(),
        "canonical": list(project.replica.canonical()),
        "conflicts": project.conflicts(),
    }


def all_clean(found: Cluster) -> bool:
    return level(list(found.engines.values())) and not any(waste(e) for e in found.engines.values())


async def busy_hour(found: Cluster) -> None:
    """Edits by everybody of what others have written, deletes, re-creates."""
    engines = list(found.engines.values())
    for key in "abc":
        await write(engines[0], creates(key))
    await until(lambda: all(len(shop(e).flag_keys()) == 3 for e in engines))
    for number, engine in enumerate(engines):
        await write(engine, sets("a", "description", f"edit {number}"))
        await until(lambda: level(engines))
    await write(engines[1], removes("b"))
    await write(engines[2], removes("c"))
    await until(lambda: level(engines))
    await write(engines[0], creates("c", description="again"))
    await until(lambda: level(engines))


async def test_everything_is_collected_in_a_quiet_cluster(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await busy_hour(found)
        await until(lambda: all_clean(found))
        for engine in found.engines.values():
            assert "flag/b" not in shop(engine).replica.objects
            assert list(shop(engine).replica.cells("flag/c")) != []
            told = garbage(engine)
            assert told["candidates"] == 0
            assert told["collected"] > 0
            assert told["blocked_by"] == []
            check_roots(engine)


async def test_collecting_is_invisible_to_readers(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await busy_hour(found)
        before = {name: shown(engine) for name, engine in found.engines.items()}
        assert all(waste(engine) for engine in found.engines.values()), "nothing has gone yet"
        await until(lambda: all_clean(found))
        assert {name: shown(engine) for name, engine in found.engines.items()} == before


async def test_a_collected_state_is_the_same_after_a_restart(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await busy_hour(found)
        await until(lambda: all_clean(found))
        before = shown(found["us-1"])
        floor = dict(shop(found["us-1"]).replica.floor)
        assert floor
        await found.stop("us-1")
        again = await found.start("us-1")
        # Others may have retired an incarnation since: that is in the canonical bytes, and nowhere else.
        await until(lambda: level(list(found.engines.values())))
        after = shown(again)
        assert after["canonical"] == shown(found["eu-1"])["canonical"]
        assert after["flags"] == before["flags"]
        # What was collected last may not have left the store before the stop; then it goes again.
        await until(lambda: waste(again) == [])
        # A floor that had only just been raised may not have been stored either: then it is raised again.
        replica = shop(again).replica
        await until(
            lambda: all({**replica.floor, **replica.retired}.get(i, 0) >= n for i, n in floor.items())
        )
        check_roots(again)


async def test_a_member_that_is_cut_off_blocks_and_is_named(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await write(found["eu-1"], creates("a"))
        await until(lambda: level(list(found.engines.values())))
        found.cut("ap-1")
        await write(found["us-1"], sets("a", "description", "unseen in ap"))
        near = [found["eu-1"], found["us-1"]]
        await until(lambda: level(near))
        await until(lambda: all(garbage(e)["blocked_by"] for e in near))
        for engine in near:
            (blocker,) = garbage(engine)["blocked_by"]
            assert blocker["node"] == "ap-1"
            assert blocker["waited_ms"] >= 30_000
            assert blocker["since"].endswith("Z")
            assert waste(engine) == ["flag/a"]
            assert garbage(engine)["collected"] == 0
            assert engine.told.blocks_garbage("ap-1")
            assert not engine.told.blocks_garbage("eu-1")
        found.mend("ap-1")
        await until(lambda: all_clean(found))
        assert garbage(found["eu-1"])["blocked_by"] == []


async def test_old_edits_of_a_member_that_was_away_bring_nothing_back_and_lose_nothing(
    autojump_clock: MockClock,
) -> None:
    async with cluster(*THREE) as found:
        for key in "ab":
            await write(found["eu-1"], creates(key))
        await until(lambda: level(list(found.engines.values())))
        found.cut("ap-1")
        await write(found["ap-1"], sets("a", "description", "written while away"))
        await write(found["eu-1"], sets("a", "description", "written at home"))
        await write(found["us-1"], removes("b"))
        near = [found["eu-1"], found["us-1"]]
        await until(lambda: level(near))
        await until(lambda: all(garbage(e)["blocked_by"] for e in near))
        found.mend("ap-1")
        await until(lambda: level(list(found.engines.values())))
        await until(lambda: not any("flag/b" in shop(e).replica.objects for e in found.engines.values()))
        for engine in found.engines.values():
            assert shop(engine).flag_keys() == ["a"]
            (conflict,) = shop(engine).conflicts()
            assert conflict.field.endswith("description"), "two edits beside each other stay a conflict"
            check_roots(engine)


async def test_an_eviction_unblocks_only_when_all_others_have_told_that_they_know(
    autojump_clock: MockClock,
) -> None:
    async with cluster("eu-1", "us-1", "ap-1", "sa-1") as found:
        await write(found["eu-1"], creates("a"))
        await until(lambda: level(list(found.engines.values())))
        found.cut("sa-1")
        await write(found["eu-1"], sets("a", "description", "one"))
        await write(found["us-1"], sets("a", "description", "two"))
        near = [found[name] for name in THREE]
        await until(lambda: level(near))
        found.cut("ap-1")
        directory = found["eu-1"].directory
        await found["eu-1"].write(
            "_system",
            lambda _: membership.eviction(directory, "sa-1", own="eu-1", by="test"),
            author="test",
        )
        await until(lambda: "sa-1" not in found["us-1"].peers)
        for engine in (found["eu-1"], found["us-1"]):
            assert any(r.slot == "sa-1" for r in engine.caretaker.counted()), "ap-1 does not know of it"
        found.mend("ap-1")
        await until(lambda: level(near) and not any(waste(e) for e in near))
        for engine in near:
            assert not any(r.slot == "sa-1" for r in engine.caretaker.counted())


async def test_a_member_that_was_never_heard_blocks(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found:
        await register(found["eu-1"], PeerIdentity("ap-9", "ap"))
        await write(found["eu-1"], creates("a"))
        await until(lambda: level(list(found.engines.values())))
        await write(found["us-1"], sets("a", "description", "new"))
        await until(lambda: bool(garbage(found["eu-1"])["blocked_by"]))
        assert [b["node"] for b in garbage(found["eu-1"])["blocked_by"]] == ["ap-9"]
        assert waste(found["eu-1"]) == ["flag/a"]


async def test_incarnations_that_have_ended_leave_the_vectors(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await write(found["us-1"], creates("a"))
        old = found["us-1"].incarnation
        await until(lambda: level(list(found.engines.values())))
        await found.stop("us-1")
        await write(found["eu-1"], creates("b"))
        await found.start("us-1")
        await until(
            lambda: all(
                old not in e.projects[p].replica.vv for e in found.engines.values() for p in (SHOP, "_system")
            )
        )
        engines = list(found.engines.values())
        await until(lambda: level(engines) and level(engines, "_system"))
        for engine in engines:
            assert shop(engine).replica.retired == {old: 1}
            assert shop(engine).flag_keys() == ["a", "b"]
            assert engine.directory.place_of(old) == ("us-1", "us"), "who and where stay known"
            check_roots(engine)
        assert all(m["behind_changes"] == 0 for e in engines for m in e.status()["members"])


async def test_a_node_that_is_away_keeps_its_incarnation(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await write(found["us-1"], creates("a"))
        old = found["us-1"].incarnation
        await until(lambda: level(list(found.engines.values())))
        await found.stop("us-1")
        await trio.sleep(3_600)
        assert old in shop(found["eu-1"]).replica.vv
        assert shop(found["eu-1"]).replica.retired == {}


async def test_nothing_is_sent_in_a_converged_cluster(autojump_clock: MockClock) -> None:
    async with cluster(*THREE) as found:
        await busy_hour(found)
        await until(lambda: all_clean(found))
        await trio.sleep(120)
        before = {name: place.kept.payload_sent for name, place in found.places.items()}
        changes = {name: shop(e).changes_applied for name, e in found.engines.items()}
        calls = len([c for c in found.board.calls if c[2] == "announce"])
        await trio.sleep(600)
        assert {name: place.kept.payload_sent for name, place in found.places.items()} == before
        assert {name: shop(e).changes_applied for name, e in found.engines.items()} == changes
        assert len([c for c in found.board.calls if c[2] == "announce"]) == calls


def test_nobody_takes_a_cell_for_garbage_that_is_none() -> None:
    assert not holds_garbage({NO_GENERATION: {}})


async def test_a_folder_that_was_put_back_is_told_what_it_had_promised(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found:
        await write(found["us-1"], creates("a"))
        await until(lambda: level(list(found.engines.values())))
        await trio.sleep(20)
        place = found.places["us-1"]
        await found.stop("us-1")
        copy = deepcopy((place.disk, place.region))
        await found.start("us-1")
        await write(found["us-1"], creates("b"))
        await until(lambda: level(list(found.engines.values())))
        await trio.sleep(20)
        await found.stop("us-1")
        place.disk, place.region = copy
        again = await found.start("us-1")
        await until(lambda: again.status()["alarms"]["restored"] == 1)
        await until(lambda: again.enrolment.standing == "member")
        await until(lambda: level(list(found.engines.values())))
        assert shop(again).flag_keys() == ["a", "b"]
        await write(again, creates("c"))
        await until(lambda: "c" in shop(found["eu-1"]).flag_keys())


async def test_an_ordinary_restart_is_no_old_copy(autojump_clock: MockClock) -> None:
    async with cluster("eu-1", "us-1") as found:
        await write(found["us-1"], creates("a"))
        for _ in range(3):
            await trio.sleep(20)
            await found.stop("us-1")
            await found.start("us-1")
            await write(found["us-1"], sets("a", "description", "again"))
        await trio.sleep(60)
        assert found["us-1"].status()["alarms"]["restored"] == 0
