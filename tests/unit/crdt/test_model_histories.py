"""Histories that broke early drafts of the design, told to the real kernel and to the event-graph oracle.

Author contexts, clones, concurrent creates, retries: each question is walked exhaustively where it is small enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from tests.property.nodes import KILL, Node, World, cluster, heal
from vexil.crdt import cell as cells
from vexil.crdt import change as changes
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.frontier import Verdict
from vexil.crdt.hlc import pack
from vexil.crdt.materialise import FlagState, read_flag
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.policy import killed
from vexil.crdt.replica import Replica

FLAG = "flag/f"
YEAR_MS = 365 * 24 * 3600 * 1000


def shown(node: Node) -> FlagState | None:
    return read_flag("f", node.replica.cells(FLAG), ("prod",))


def kill_is_on(node: Node) -> bool:
    return bool(killed(cells.live(node.replica.cell(FLAG, NO_GENERATION, KILL))).value)


def plain(value: object, name: str = FLAG) -> list[CellWrite]:
    return [CellWrite(name, NO_GENERATION, "f", value)]


# -- author contexts: the context of a change is the state of the node that takes it


@pytest.mark.parametrize("slow", [0, YEAR_MS])
def test_in_every_short_history_of_kills_no_kill_is_lost(slow: int) -> None:
    """Two nodes kill, un-kill and hear each other in every order; a kill ends by a write that had seen it alone.

    A write under an author's older view would replace the node's own lane unseen: the model's first finding.
    """
    actions = ("kill a", "alive a", "kill b", "alive b", "a hears b", "b hears a")
    for script in product(actions, repeat=4):
        a, b = cluster(1, 2)
        b.skew_ms = slow
        unseen: dict[Dot, bool] = {}
        for action in script:
            verb, _, rest = action.partition(" ")
            if verb in {"kill", "alive"}:
                node = a if rest == "a" else b
                undone = [dot for dot in unseen if dot in node.known]
                change = node.write(node.kill_of(FLAG, on=verb == "kill"), wall_ms=YEAR_MS)
                for dot in undone:
                    del unseen[dot]
                unseen[change.dot] = verb == "kill"
            elif verb == "a":
                a.pull(b)
            else:
                b.pull(a)
        heal(a, b)
        assert kill_is_on(a) == any(unseen.values()), script


def test_an_author_with_an_old_view_replaces_what_the_node_has_now() -> None:
    """The view of the author is checked before (412); what is encoded is the node's state, so no lane is lost."""
    a, b = cluster(1, 2)
    a.write(a.kill_of(FLAG, on=True))
    b.pull(a)
    b.write(b.kill_of(FLAG, on=True))
    a.pull(b)
    change = a.write(a.kill_of(FLAG, on=False))
    assert change.operations[0].seen == ((2, 1),), (
        "the own lane is replaced by its seq, the other one is named"
    )
    assert cells.live(a.replica.cell(FLAG, NO_GENERATION, KILL))[0].seq == 2
    assert not kill_is_on(a)
    heal(a, b)


def test_an_unkill_that_has_not_seen_a_kill_does_not_end_it() -> None:
    a, b = cluster(1, 2)
    a.write(a.kill_of(FLAG, on=True))
    b.skew_ms = YEAR_MS
    b.write(b.kill_of(FLAG, on=False), wall_ms=YEAR_MS)
    heal(a, b)
    assert kill_is_on(a), "a later stamp is no evidence"
    b.write(b.kill_of(FLAG, on=False))
    heal(a, b)
    assert not kill_is_on(a)


# -- clones: two processes under one identity


def test_every_pair_of_clone_lanes_merges_to_one_of_them() -> None:
    lanes = list(product((0, 1, 8), (b"", b"\x00", b"\x08", b"\x08\x00")))
    for (hlc, payload), (other_hlc, other) in product(lanes, repeat=2):
        one = cells.write(cells.EMPTY, dot=(5, 1), hlc=hlc, payload=payload, replaced=())
        two = cells.write(cells.EMPTY, dot=(5, 1), hlc=other_hlc, payload=other, replaced=())
        [lane] = cells.live(cells.join(one, two))
        assert (lane.hlc, lane.payload) == max((hlc, payload), (other_hlc, other))
        assert cells.join(one, two) == cells.join(two, one)


def test_a_clone_is_found_by_the_same_dot_and_by_the_broken_chain() -> None:
    a, b, c = cluster(1, 2, 3)
    twin = Node(World(), 1)
    a.write(plain("mine"))
    twin.write(plain("clone's"))
    b.pull(a)
    [of_clone] = twin.world.log.values()
    assert b.replica.verdict(of_clone) is Verdict.FORK, "the same dot, another hash"
    assert c.replica.verdict(of_clone) is Verdict.NEXT, "who has heard neither cannot tell"
    second = twin.write(plain("clone's second"))
    assert b.replica.verdict(second) is Verdict.FORK, "next by number, but of another past"
    c.replica.apply(of_clone)
    assert c.replica.vv == b.replica.vv
    assert c.replica.vv_hash() != b.replica.vv_hash(), "equal vectors of forked pasts must not look equal"
    assert c.replica.root != b.replica.root


def test_a_restored_process_that_counts_again_is_told_at_once() -> None:
    """A disk from a backup: seq restarts under the old incarnation. Nobody may take the new change for the old one."""
    a, b = cluster(1, 2)
    a.write(plain(1))
    backup = Replica.load(
        a.replica.header(), [(FLAG, NO_GENERATION, "f", a.replica.cell(FLAG, NO_GENERATION, "f"))]
    )
    a.write(plain(2))
    b.pull(a)
    restored = Pen(backup, 1).write(plain("after restore"), hlc=pack(5), author="ann")
    assert restored.dot == (1, 2)
    assert b.replica.verdict(restored) is Verdict.FORK
    backup.apply(restored)
    following = Pen(backup, 1).write(plain("and on"), hlc=pack(6), author="ann")
    assert b.replica.verdict(following) is Verdict.FORK
    assert b.replica.vv == {1: 2}


# -- concurrent creates


def both_created(first_wall: int, second_wall: int) -> tuple[Node, Node]:
    a, b = cluster(1, 2)
    a.create(FLAG, wall_ms=first_wall, fields={"description": "a's", "variant/on": True})
    b.create(FLAG, wall_ms=second_wall, fields={"description": "b's", "variant/on": True})
    return a, b


def each_pair() -> Iterator[tuple[Node, Node, Dot]]:
    """Two regions that created one key, before they hear of each other; and which create is to be shown."""
    yield *both_created(1000, 2000), (2, 1)
    yield *both_created(2000, 1000), (1, 1)
    yield *both_created(1000, 1000), (2, 1)


def test_of_two_creates_the_later_is_shown_and_the_other_reported() -> None:
    for a, b, winner in each_pair():
        heal(a, b)
        for node in (a, b):
            state = shown(node)
            assert state is not None
            assert state.generation == winner
            assert state.generations == (winner, (3 - winner[0], 1))
            assert [found.kind for found in state.conflicts] == ["concurrent-create"]


def test_an_edit_neither_flips_two_creates_nor_swallows_the_loser() -> None:
    """An edit touches existence again, in its own generation: neither its stamp nor its `seen` reaches the other."""
    for a, b, winner in each_pair():
        heal(a, b)
        for late in (a, b, a):
            late.write(late.edit_of(FLAG, {"description": "edited"}), wall_ms=5000)
            heal(a, b)
            state = shown(a)
            assert state is not None
            assert state.generation == winner
            assert state.description == "edited"
            assert len(state.generations) == 2


def test_a_late_edit_of_the_loser_does_not_flip_what_is_shown() -> None:
    for a, b, winner in each_pair():
        loser = a if winner[0] == 2 else b
        loser.write(loser.edit_of(FLAG, {"description": "late"}), wall_ms=9000)
        heal(a, b)
        state = shown(a)
        assert state is not None
        assert state.generation == winner
        assert len(state.generations) == 2


def test_a_delete_by_someone_who_has_seen_both_leaves_no_zombie() -> None:
    for a, b, _ in each_pair():
        heal(a, b)
        a.write(a.delete_of(FLAG))
        heal(a, b)
        assert shown(a) is None
        assert shown(b) is None
        assert list(a.replica.canonical()) == []
        assert a.replica.root == Replica().root


@pytest.mark.parametrize("killer", [0, 1])
def test_a_kill_of_either_create_holds_for_what_is_shown(killer: int) -> None:
    for a, b, _ in each_pair():
        node = (a, b)[killer]
        node.write(node.kill_of(FLAG, on=True))
        heal(a, b)
        for each in (a, b):
            state = shown(each)
            assert state is not None
            assert state.environments["prod"].kill


def test_a_recreate_beats_the_old_generation_whatever_the_clocks_say() -> None:
    """The old one was created, and brought back, by a clock of next year; the re-create had not seen the latter."""
    a, b = cluster(1, 9)
    old = b.create(FLAG, wall_ms=YEAR_MS, fields={"description": "old"}).dot
    a.pull(b)
    a.write(a.delete_of(FLAG), wall_ms=1000)
    new = a.create(FLAG, wall_ms=1000, fields={"tag/new": True}).dot
    b.write(b.edit_of(FLAG, {"tag/late": True}), wall_ms=YEAR_MS)
    heal(a, b)
    state = shown(b)
    assert state is not None
    assert (state.generation, state.description, state.tags) == (new, "", ("new",)), (
        "no cell of the old one in it"
    )
    assert state.generations == (new, old)


def test_a_recreate_after_many_deletes_is_above_every_epoch() -> None:
    """The creator's own tombstone takes the place of the lane that said the epoch."""
    [a] = cluster(1)
    epochs = []
    for _ in range(4):
        a.create(FLAG)
        state = shown(a)
        assert state is not None
        epochs.append(state.epoch)
        a.write(a.delete_of(FLAG))
        assert shown(a) is None
    assert epochs == [1, 2, 3, 4]


# -- retries: the kernel's part


def test_the_idempotency_key_reaches_every_node_with_the_change() -> None:
    """A node that has the change can answer the retry, whoever took the first request."""
    a, b, c = (Replica() for _ in range(3))
    change = Pen(a, 1).write(plain(1), hlc=1, author="ann", idempotency=("retry-me", b"print"))
    for replica in (a, b, c):
        relayed = changes.decode(changes.decode(change.raw).raw)
        assert relayed.idempotency == ("retry-me", b"print")
        replica.apply(relayed)
        assert replica.verdict(relayed) is Verdict.DUPLICATE, "and its dot is never taken twice"
    without = Pen(a, 1).write(plain(1), hlc=2, author="ann")
    assert changes.decode(without.raw).idempotency is None


def test_a_write_that_was_not_durable_gives_its_dot_back() -> None:
    replica = Replica()
    pen = Pen(replica, 1)
    lost = [pen.write(plain(n, f"flag/{n}"), hlc=n, author="ann") for n in (1, 2)]
    pen.rewind()
    again = pen.write(plain(3), hlc=3, author="ann")
    assert again.dot == lost[0].dot == (1, 1)
    replica.apply(again)
    assert replica.verdict(lost[1]) is Verdict.FORK, "the lost chain is never continued"
