"""Minimal histories, each about one rule, told to the parts of a node (`tests.sim.rule_world`).

Most were found by exploring an executable model of the replication; random faults reach them too rarely. Each one
asserts what must hold; `test_rules` runs it with its rule and without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from random import Random

import trio

from tests.property.nodes import KILL, Node, World, cluster, heal
from tests.sim.rule_world import FLAG, SHOP, Member, all_tell_and_hear, members
from vexil.chaos.world.simulated_disk import SimulatedDisk, SimulatedJournal
from vexil.chaos.world.simulated_store import SimulatedRegion, SimulatedStore
from vexil.crdt import cell as cells
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.frontier import Verdict
from vexil.crdt.garbage import FoldRemoval
from vexil.crdt.merge import BelowFloor
from vexil.crdt.pen import CellWrite
from vexil.crdt.replica import Replica
from vexil.crdt.snapshot_page import decode_page, pages
from vexil.node.region_writer import RegionWriter
from vexil.node.seams import MemberRow, StoreError


def a_change_replaces_what_its_node_has() -> None:
    """Rule 1. An un-kill takes back the kill that its node has heard of since its own last write."""
    a, b = cluster(1, 2)
    a.write(a.kill_of(FLAG, on=True))
    b.pull(a)
    b.write(b.kill_of(FLAG, on=True))
    a.pull(b)
    a.write(a.kill_of(FLAG, on=False))
    heal(a, b)
    assert [lane.seq for lane in cells.live(a.replica.cell(FLAG, NO_GENERATION, KILL))] == [2]


def two_histories_of_one_incarnation_never_mix() -> None:
    """Rule 2. Whoever has the one sees from the hash chain that a change goes on from the other."""
    a, b = cluster(1, 2)
    twin = Node(World(), 1)
    a.write([CellWrite(FLAG, NO_GENERATION, "f", "mine")])
    twin.write([CellWrite(FLAG, NO_GENERATION, "f", "the copy's")])
    second = twin.write([CellWrite(FLAG, NO_GENERATION, "g", "on top of it")])
    b.pull(a)
    assert b.replica.verdict(second) is Verdict.FORK


def a_snapshot_is_of_one_instant() -> None:
    """Rule 3. Changes that come while it is read are not in it: it is what its vector says, and goes on from there."""
    [a] = cluster(1)
    for name in ("flag/a", "flag/b"):
        a.create(name, fields={"description": "before"})
    found = []
    with a.replica.cut() as cut:
        for page in pages(cut.objects(), page_bytes=1):
            found += decode_page(page.raw)
            a.write(a.edit_of("flag/b", {"description": f"change {len(found)}"}))
        joiner = Replica.load(cut.header, found)
    assert joiner.root == joiner.recomputed_root()
    for dot in [d for d in a.order if joiner.known(d[0]) < d[1]]:
        joiner.apply(a.world.log[dot])
    assert list(joiner.canonical()) == list(a.replica.canonical())
    assert joiner.objects == a.replica.objects


def a_snapshot_is_joined() -> None:
    """Rule 3. What the receiver has and the sender has not stays, before and after the join."""
    a, b = members("a", "b")
    a.shop.write(a.shop.edit_of(FLAG, {"tag/a": True}))
    b.shop.write(b.shop.edit_of(FLAG, {"tag/b": True}))
    b.join_state_of(a)
    b.check()
    a.pull(b)
    a.check()


def a_state_from_a_backup_is_not_joined() -> None:
    """Rule 3, the floor. The backup has what the others have deleted and collected: no join may bring it back."""
    a, b, c = members("a", "b", "c")
    backup = Member("c", 9, c.shop.world, c.system.world)
    backup.pull(c)
    a.shop.write(a.shop.delete_of(FLAG))
    b.pull(a)
    c.pull(a)
    all_tell_and_hear(a, b, c)
    assert a.collect()
    assert FLAG not in a.shop.replica.objects
    with suppress(BelowFloor):
        backup.join_state_of(a)
    backup.check()


def a_state_that_has_not_seen_the_removal_is_not_joined() -> None:
    """Rule 3, the floor, from the other side: whoever has collected takes no state from before the removal."""
    a, b, c = members("a", "b", "c")
    backup = Member("c", 9, c.shop.world, c.system.world)
    backup.pull(c)
    a.shop.write(a.shop.delete_of(FLAG))
    for other in (b, c):
        other.pull(a)
    all_tell_and_hear(a, b, c)
    assert a.collect()
    with suppress(BelowFloor):
        a.join_state_of(backup)
    a.check()


def what_replaced_it_must_be_everywhere_too() -> None:
    """Rule 7. Everybody has the replaced value, one member alone has the edit: its trace of the old one must stay."""
    a, b = members("a", "b")
    all_tell_and_hear(a, b)
    b.shop.write(b.shop.edit_of(FLAG, {"description": "edited"}))
    assert b.collect()
    a.join_state_of(b)
    a.check()


def a_floor_is_stored_before_what_it_tells_of_goes() -> None:
    """Rule 7. A start after a crash finds nothing gone that its floor does not tell of."""
    [a] = cluster(1)
    a.create(FLAG, fields={"tag/old": True})
    a.write(a.delete_of(FLAG))
    replica, region = a.replica, SimulatedRegion(Random(1))

    class Watched(SimulatedStore):
        async def collect_fold(
            self, project: str, removals: Sequence[FoldRemoval], *, checkpoint: int = 0
        ) -> None:
            row = region.member("a")
            assert row is not None
            stored = Replica()
            stored.load_header(row.fold[project])
            assert not removals or stored.floor == replica.vv
            await super().collect_fold(project, removals, checkpoint=checkpoint)

    async def main() -> None:
        writer = RegionWriter(
            Watched(region, "a"),
            SimulatedJournal(SimulatedDisk(Random(1))),
            MemberRow("a", start=1, revision=0, incarnation=1, checkpoint={}, vv={}, fold={}),
            {SHOP: replica},
            rng=Random(1),
            hlc=lambda: 1,
            on_failure=_no_failure,
        )
        for change in a.world.log.values():
            writer.note(SHOP, change)
        await writer.flush()
        replica.advance_floor(replica.vv)
        writer.note_removed(SHOP, replica.collect(FLAG, replica.vv))
        await writer.flush()
        assert not region.fold("a", SHOP).rows

    trio.run(main)


def a_promise_of_more_than_is_known_here() -> None:
    """Rule 7. One member has promised an edit and a delete; whoever lacks the edit must not collect the flag."""
    a, b, c = members("a", "b", "c")
    edit = b.shop.write(b.shop.edit_of(FLAG, {"description": "kept"}))
    delete = a.shop.write(a.shop.delete_of(FLAG))
    for member in (b, c):
        assert member.shop.offer(delete.dot) is Verdict.NEXT
    all_tell_and_hear(a, b, c)
    c.collect()
    for member in (c, a):
        assert member.shop.offer(edit.dot) is Verdict.NEXT, "it is lost here"
        member.check()


def a_member_that_only_another_one_knows() -> None:
    """Rule 8. A joiner, registered by one member, reads its state; another one must not collect without it."""
    a, b = members("a", "b")
    joiner = Member("joiner", 5, b.shop.world, b.system.world)
    b.register(joiner)
    joiner.pull(b)
    delete = a.shop.write(a.shop.delete_of(FLAG))
    assert b.shop.offer(delete.dot) is Verdict.NEXT
    all_tell_and_hear(a, b)
    a.collect()
    edit = joiner.shop.write(joiner.shop.edit_of(FLAG, {"description": "kept"}))
    assert a.shop.offer(edit.dot) is Verdict.NEXT, "it is lost here"
    a.check()


def an_evicted_member_of_which_another_has_not_heard() -> None:
    """Rule 9. One member evicts, another still takes the evicted one's edit: the flag it is about must be there."""
    a, b, c = members("a", "b", "c")
    edit = c.shop.write(c.shop.edit_of(FLAG, {"description": "kept"}))
    delete = a.shop.write(a.shop.delete_of(FLAG))
    assert b.shop.offer(delete.dot) is Verdict.NEXT
    all_tell_and_hear(a, b, c)
    a.evict("c")
    a.collect()
    assert b.shop.offer(edit.dot) is Verdict.NEXT
    assert a.shop.offer(edit.dot) is Verdict.NEXT, "it is lost here"
    a.check()


def a_change_from_below_the_floor() -> None:
    """Rule 11. Whoever writes has not seen the delete whose garbage is gone everywhere: half a flag would come back."""
    a, b, c = members("a", "b", "c")
    stray = Member("c", 9, c.shop.world, c.system.world)
    stray.pull(c)
    a.shop.write(a.shop.delete_of(FLAG))
    for other in (b, c):
        other.pull(a)
    all_tell_and_hear(a, b, c)
    for member in (a, b, c):
        assert member.collect()
    edit = stray.shop.write(stray.shop.edit_of(FLAG, {"description": "stray"}))
    for member in (a, b, c):
        assert member.shop.replica.verdict(edit) is Verdict.BELOW_FLOOR


def lanes_of_copies_are_one_of_them() -> None:
    """Two processes under one incarnation wrote one dot: of the two lanes one is kept, never a mixture."""
    lanes = [(hlc, payload) for hlc in (0, 1, 8) for payload in (b"", b"\x08", b"\x08\x00")]
    for one, other in pairwise(sorted(lanes, key=lambda lane: (lane[0] * 5 % 9, lane[1]))):
        packed = [
            cells.write(cells.EMPTY, dot=(5, 1), hlc=hlc, payload=payload, replaced=())
            for hlc, payload in (one, other)
        ]
        [lane] = cells.live(cells.join(*packed))
        assert (lane.hlc, lane.payload) in (one, other)


def an_edit_does_not_flip_two_creates() -> None:
    """Of two concurrent creates the later one is shown, whoever is edited afterwards."""
    a, b = cluster(1, 2)
    a.create(FLAG, wall_ms=1_000, fields={"description": "a's"})
    later: Dot = b.create(FLAG, wall_ms=2_000, fields={"description": "b's"}).dot
    a.write(a.edit_of(FLAG, {"description": "late"}), wall_ms=9_000)
    heal(a, b)
    assert a.world.oracle.generations(FLAG, a.known)[0].generation == later


def _no_failure(error: StoreError) -> None:
    raise error
