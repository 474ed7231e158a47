"""Retired incarnations: out of every vector at the same point of the history, and still known."""

from __future__ import annotations

import msgpack
import pytest

from tests.property.nodes import Node, World, cluster, reloaded, rows
from vexil.crdt import cell as cells
from vexil.crdt import change as changes
from vexil.crdt.change import NO_GENERATION, Change, Operation
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.merge import ForkMet, Merge
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT, retired_field

FLAG = "flag/f"


def retirement(incarnation: int, final: object) -> list[CellWrite]:
    return [CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(incarnation), final)]


def with_an_old_life() -> tuple[World, Node, Node, list[Change]]:
    """Two nodes; the first had another incarnation, 7, whose two changes both know."""
    a, b = cluster(7, 2)
    old = [a.write(a.kill_of(FLAG, on=on)) for on in (True, False)]
    a.restart(1)
    b.pull(a)
    b.write(b.kill_of("flag/g", on=True))
    a.pull(b)
    return a.world, a, b, old


def test_it_leaves_every_vector_and_what_it_wrote_stays() -> None:
    _, a, b, _ = with_an_old_life()
    a.replica.advance_floor({7: 1})
    before = list(a.replica.canonical())
    change = a.write(retirement(7, 2))
    assert b.offer(change.dot) is Verdict.NEXT
    for replica in (a.replica, b.replica):
        assert replica.retired == {7: 2}
        assert 7 not in replica.vv
        assert 7 not in replica.heads()
        assert 7 not in replica.floor
        assert all(7 not in replica.deps_of(i) for i in replica.vv)
        assert (replica.known(7), replica.covers({7: 99})) == (2, True)
    assert [r for r in a.replica.canonical() if r in before] == before
    assert a.replica.root == b.replica.root == a.replica.recomputed_root()
    assert a.replica.vv_hash() == b.replica.vv_hash()


def test_its_changes_are_duplicates_and_more_of_it_is_a_fork() -> None:
    _, a, _, old = with_an_old_life()
    a.write(retirement(7, 2))
    assert [a.replica.verdict(change) for change in old] == [Verdict.DUPLICATE] * 2
    more = changes.encode(
        dot=(7, 3),
        hlc=9,
        deps={},
        previous=old[-1].chain,
        author="x",
        message="",
        idempotency=None,
        operations=[],
    )
    assert a.replica.verdict(more) is Verdict.FORK


def test_a_change_may_replace_its_lanes_and_wait_for_it_no_more() -> None:
    """Written after the retirement, by one whose changes have never named the old incarnation before."""
    world, a, b, _ = with_an_old_life()
    first = a.write(retirement(7, 2))
    second = a.write(a.kill_of(FLAG, on=True))
    assert second.operations[0].seen == ((7, 2),)
    c = Node(world, 3)
    c.pull(b)
    third = c.write(c.kill_of("flag/h", on=True))
    for change in (first, second):
        assert c.offer(change.dot) is Verdict.NEXT
    page = Frontier(b.replica)
    for change in (first, second, third):
        assert page.verdict(change) is Verdict.NEXT
        page.admit(change)


def test_a_retirement_that_its_author_cannot_know_is_refused() -> None:
    """No final seq is ever guessed: neither one too few nor one of somebody unheard of."""
    for incarnation, final in ((7, 1), (7, 3), (99, 1)):
        _, a, b, _ = with_an_old_life()
        wrong = a.pen.write(retirement(incarnation, final), hlc=1, author="x")
        assert b.replica.verdict(wrong) is Verdict.OVERCLAIM


@pytest.mark.parametrize(
    ("field", "value"),
    [("7", 2), ("000000000000000G", 2), ("0000000000000007", "2"), ("0000000000000007", True), ("", 2)],
)
def test_what_cannot_be_read_retires_nobody_and_is_a_cell_like_any_other(field: str, value: object) -> None:
    _, a, b, _ = with_an_old_life()
    for junk in (value, TOMBSTONE):
        change = a.write([CellWrite(RETIRED_OBJECT, NO_GENERATION, field, junk)])
        assert b.offer(change.dot) is Verdict.NEXT
    assert a.replica.retired == b.replica.retired == {}
    assert a.replica.root == b.replica.root


def test_nobody_retires_himself() -> None:
    [a] = cluster(1)
    a.write(a.kill_of(FLAG, on=True))
    a.replica.apply(a.pen.write(retirement(1, 2), hlc=1, author="x"))
    assert (a.replica.vv, a.replica.retired) == ({1: 2}, {})


def test_the_table_comes_back_from_the_cells() -> None:
    _, a, _, _ = with_an_old_life()
    a.write(retirement(7, 2))
    loaded = reloaded(a.replica)
    assert (loaded.vv, loaded.retired) == (a.replica.vv, a.replica.retired)
    assert b"retired" not in a.replica.header()


@pytest.mark.parametrize("known", [0, 1])
def test_a_retirement_that_is_ahead_of_its_header_counts_when_its_change_is_read_back(known: int) -> None:
    """The rows of the retired one, too, may be yet to be read back: they must not be taken for duplicates."""
    world, a, _, old = with_an_old_life()
    behind = Node(world, 50)
    for change in old[:known]:
        behind.offer(change.dot)
    change = a.write(retirement(7, 2))
    fold = [(n, g, f, cells.from_entries(packed)) for n, g, f, packed in rows(a.replica)]
    loaded = Replica.load(behind.replica.header(), fold)
    assert (loaded.vv, loaded.retired) == (behind.vector, {})
    for dot in [*(c.dot for c in old[known:]), (2, 1), change.dot]:
        assert loaded.verdict(world.log[dot]) is Verdict.NEXT
        loaded.apply(world.log[dot])
    assert (loaded.vv, loaded.retired) == (a.replica.vv, a.replica.retired)


def test_one_who_retired_another_may_be_retired_as_well() -> None:
    _, a, b, _ = with_an_old_life()
    a.write(retirement(7, 2))
    a.restart(5)
    b.pull(a)
    b.write(retirement(1, 1))
    assert b.replica.retired == {7: 2, 1: 1}
    assert reloaded(b.replica).retired == b.replica.retired


def test_two_nodes_may_retire_one_incarnation_at_once() -> None:
    _, a, b, _ = with_an_old_life()
    one, two = a.write(retirement(7, 2)), b.write(retirement(7, 2))
    assert (a.offer(two.dot), b.offer(one.dot)) == (Verdict.NEXT, Verdict.NEXT)
    assert a.replica.vv == b.replica.vv
    assert a.replica.root == b.replica.root


def test_states_in_which_one_incarnation_ends_differently_are_not_joined() -> None:
    _, a, b, old = with_an_old_life()
    a.write(retirement(7, 2))
    beyond = changes.encode(
        dot=(7, 3),
        hlc=9,
        deps={},
        previous=old[-1].chain,
        author="x",
        message="",
        idempotency=None,
        operations=[Operation(FLAG, NO_GENERATION, "kill/prod", msgpack.packb(["x", True]), ())],
    )
    b.replica.apply(beyond)
    for live, incoming in ((a.replica, b.replica), (b.replica, a.replica)):
        with pytest.raises(ForkMet):
            Merge(live, incoming)
