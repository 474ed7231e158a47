"""Failures of other systems like this one, as their issue trackers tell them: each must not happen here.

Context over-claims, wrong merges of sets, maps and flags, ties, clocks. Every story of nodes is also told to the
event-graph oracle.
"""

from __future__ import annotations

from itertools import permutations, product

import pytest

from tests.property.nodes import Node, cluster, heal
from vexil.crdt import cell as cells
from vexil.crdt import change as changes
from vexil.crdt import payload as payloads
from vexil.crdt.change import GENESIS, NO_GENERATION, Change, Dot, Operation
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.materialise import FlagState, read_flag
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.policy import latest
from vexil.crdt.replica import EXISTS, Replica

FLAG = "flag/f"
YEAR_MS = 365 * 24 * 3600 * 1000


def shown(node: Node) -> FlagState | None:
    return read_flag("f", node.replica.cells(FLAG), ("prod",))


def handmade(
    dot: Dot,
    *,
    deps: dict[int, int] | None = None,
    previous: bytes = GENESIS,
    seen: tuple[Dot, ...] = (),
    value: object = "forged",
    hlc: int = 1,
) -> Change:
    """A change of one cell, as a program of someone else might write it."""
    operation = Operation(FLAG, NO_GENERATION, "f", payloads.encode("eve", value), seen)
    return changes.encode(
        dot=dot,
        hlc=hlc,
        deps=deps or {},
        previous=previous,
        author="eve",
        message="",
        idempotency=None,
        operations=[operation],
    )


def plain(value: object, name: str = FLAG) -> list[CellWrite]:
    return [CellWrite(name, NO_GENERATION, "f", value)]


# -- context over-claims: absence is not evidence, and nobody may claim what he cannot have seen


def test_a_partial_history_deletes_nothing() -> None:
    """Every prefix of a peer's log, and every subset that is causal, leaves the other lanes alone."""
    a, b = cluster(1, 2)
    for n in range(3):
        a.write([CellWrite(FLAG, NO_GENERATION, f"tag/{n}", True)])
        b.write([CellWrite(FLAG, NO_GENERATION, f"tag/{n}", True)])
    for dot in list(b.order):
        a.offer(dot)
        for n in range(3):
            assert cells.has_value(a.replica.cell(FLAG, NO_GENERATION, f"tag/{n}"))
        a.check()
    assert len(list(a.replica.canonical())) == 6


def test_a_change_that_replaces_what_its_author_cannot_have_seen_is_refused() -> None:
    a = Replica()
    a.apply(handmade((1, 1)))
    assert a.verdict(handmade((2, 1), seen=((1, 2),), deps={1: 1})) is Verdict.OVERCLAIM
    assert a.verdict(handmade((2, 1), seen=((7, 1),), deps={1: 1})) is Verdict.OVERCLAIM
    assert a.verdict(handmade((2, 1), seen=((2, 1),))) is Verdict.OVERCLAIM, "itself"
    assert a.verdict(handmade((2, 1), seen=((1, 1),), deps={1: 1})) is Verdict.NEXT


def test_an_over_claim_is_one_at_every_node() -> None:
    """Also where the lane is: who has heard more must not take a change that who has heard less refuses for ever.

    Eve says that she replaces (1, 1), and that she has seen nothing. The write of (1, 1) must survive.
    """
    lane, claim = handmade((1, 1), value="precious"), handmade((2, 1), seen=((1, 1),))
    has_heard, has_not = Replica(), Replica()
    has_heard.apply(lane)
    assert has_not.verdict(claim) is Verdict.OVERCLAIM
    assert has_heard.verdict(claim) is Verdict.OVERCLAIM
    page = Frontier(has_not)
    page.admit(lane)
    assert page.verdict(claim) is Verdict.OVERCLAIM


def test_what_an_author_said_once_that_he_has_seen_he_may_replace_ever_after() -> None:
    """Deps travel as a difference: later changes do not repeat them; also within a page, and after a restart."""
    lane = handmade((1, 1))
    first = handmade((2, 1), deps={1: 1})
    second = handmade((2, 2), previous=first.chain, seen=((1, 1),))
    third = handmade((2, 3), previous=second.chain, seen=((1, 1), (2, 1)))
    replica = Replica()
    page = Frontier(replica)
    for change in (lane, first, second, third):
        assert page.verdict(change) is Verdict.NEXT
        page.admit(change)
    for change in (lane, first):
        replica.apply(change)
    assert replica.verdict(second) is Verdict.NEXT
    assert Replica.load(replica.header(), []).verdict(second) is Verdict.NEXT
    stranger = handmade((3, 1), seen=((1, 1),))
    assert replica.verdict(stranger) is Verdict.OVERCLAIM


def test_a_change_waits_for_all_that_its_author_had_seen() -> None:
    a, b, c = cluster(1, 2, 3)
    a.write(plain(1))
    b.pull(a)
    b.write(plain(2))
    assert c.offer((2, 1)) is Verdict.WAITING
    assert c.replica.vv == {}
    assert c.offer((1, 1)) is Verdict.NEXT
    assert c.offer((2, 1)) is Verdict.NEXT
    assert [lane.incarnation for lane in cells.live(c.replica.cell(FLAG, NO_GENERATION, "f"))] == [2]
    c.check()


def test_a_gap_in_an_incarnation_is_waited_for_and_never_skipped() -> None:
    a, b = cluster(1, 2)
    for n in range(3):
        a.write([CellWrite(FLAG, NO_GENERATION, f"tag/{n}", True)])
    assert b.offer((1, 3)) is Verdict.WAITING
    assert b.offer((1, 2)) is Verdict.WAITING
    assert b.offer((1, 1)) is Verdict.NEXT
    assert b.offer((1, 3)) is Verdict.WAITING
    assert b.replica.vv == {1: 1}
    b.page([(1, 3), (1, 2)])
    assert b.replica.vv == {1: 2}, "in a page too, what comes too early waits"
    b.pull(a)
    heal(a, b)


# -- wrong merges of sets, maps and flags


def test_an_element_that_is_at_both_sides_but_removed_at_one_is_removed() -> None:
    a, b = cluster(1, 2)
    a.create(FLAG, fields={"tag/x": True})
    b.pull(a)
    a.write(a.edit_of(FLAG, {"tag/x": TOMBSTONE}))
    heal(a, b)
    state = shown(b)
    assert state is not None
    assert state.tags == ()


def test_an_add_beside_a_remove_that_had_not_seen_it_wins() -> None:
    a, b = cluster(1, 2)
    a.create(FLAG, fields={"tag/x": True})
    b.pull(a)
    a.write(a.edit_of(FLAG, {"tag/x": TOMBSTONE}))
    b.write(b.edit_of(FLAG, {"tag/x": True}))
    heal(a, b)
    state = shown(a)
    assert state is not None
    assert state.tags == ("x",)


def test_an_edit_beside_a_delete_brings_the_whole_flag_back() -> None:
    """Not half of it: the fields that the edit did not touch are there again too, and it asks for review."""
    a, b = cluster(1, 2)
    a.create(FLAG, fields={"tag/x": True, "description": "old", "variant/on": True})
    b.pull(a)
    a.write(a.delete_of(FLAG))
    assert shown(a) is None
    b.write(b.edit_of(FLAG, {"description": "new"}))
    heal(a, b)
    state = shown(a)
    assert state is not None
    assert (state.tags, state.description, dict(state.variants)) == (("x",), "new", {"on": True})
    assert state.needs_review
    a.write(a.edit_of(FLAG, {}))
    heal(a, b)
    state = shown(b)
    assert state is not None
    assert not state.needs_review


def test_an_edit_that_a_delete_had_seen_does_not_bring_the_flag_back() -> None:
    a, b = cluster(1, 2)
    a.create(FLAG, fields={"tag/x": True})
    b.pull(a)
    b.write(b.edit_of(FLAG, {"description": "new"}), wall_ms=YEAR_MS)
    a.pull(b)
    a.write(a.delete_of(FLAG))
    heal(a, b)
    assert shown(a) is None


def test_two_blind_puts_of_one_cell_are_siblings_until_someone_has_seen_both() -> None:
    a, b, c = cluster(1, 2, 3)
    a.write(plain("a's"))
    b.write(plain("b's"))
    heal(a, b, c)
    assert len(cells.live(c.replica.cell(FLAG, NO_GENERATION, "f"))) == 2
    c.write(plain("both seen"))
    heal(a, b, c)
    [lane] = cells.live(a.replica.cell(FLAG, NO_GENERATION, "f"))
    assert lane.incarnation == 3


# -- ties and clocks


@pytest.mark.parametrize("values", [("aaa", "zzz"), ("zzz", "aaa")])
def test_equal_stamps_are_decided_by_who_wrote_and_not_by_what(values: tuple[str, str]) -> None:
    a, b, relay = cluster(1, 2, 3)
    first, second = a.write(plain(values[0]), wall_ms=7), b.write(plain(values[1]), wall_ms=7)
    assert first.hlc == second.hlc
    relay.pull(b)
    relay.pull(a)
    a.pull(relay)
    b.pull(relay)
    for node in (a, b, relay):
        lanes = cells.live(node.replica.cell(FLAG, NO_GENERATION, "f"))
        winner = latest(lanes)
        assert winner is not None
        assert winner.incarnation == 2
        assert {lane.hlc for lane in lanes} == {first.hlc}, "relaying does not stamp again"
    heal(a, b, relay)


def test_a_stamp_of_next_year_blocks_no_edit_that_has_seen_it() -> None:
    a, b = cluster(1, 2)
    a.skew_ms = YEAR_MS
    a.write(plain("from next year"))
    b.pull(a)
    later = b.write(plain("today"))
    assert later.hlc < a.world.log[1, 1].hlc, "the suspect stamp has not moved the clock"
    heal(a, b)
    [lane] = cells.live(a.replica.cell(FLAG, NO_GENERATION, "f"))
    assert payloads.decode(lane.payload).value == "today"


# -- one change, many objects


def test_a_change_is_hashed_the_same_whatever_the_order_of_its_operations() -> None:
    """Existence may come before, between or after the cells whose counting it decides."""
    generation = (1, 1)
    writes = [
        CellWrite(FLAG, generation, EXISTS, {"epoch": 1}),
        CellWrite(FLAG, generation, "tag/x", True),
        CellWrite("flag/g", generation, EXISTS, {"epoch": 1}),
        CellWrite(FLAG, NO_GENERATION, EXISTS, "not existence: outside"),
    ]
    gone = [
        w if w.field != EXISTS or w.generation == NO_GENERATION else CellWrite(*w_of(w), TOMBSTONE)
        for w in writes
    ]
    roots = set()
    for order, undo in product(permutations(range(4)), permutations(range(4))):
        replica = Replica()
        for batch in ([writes[i] for i in order], [gone[i] for i in undo], [writes[i] for i in order]):
            replica.apply(Pen(replica, 1).write(batch, hlc=1, author="ann"))
            assert replica.root == replica.recomputed_root()
        roots.add(replica.root)
    assert len(roots) == 1


def w_of(write: CellWrite) -> tuple[str, Dot, str]:
    return write.object, write.generation, write.field
