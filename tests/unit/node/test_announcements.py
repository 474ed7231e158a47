"""Promises: the newest of each place counts, pieces of one are weaker ones, and nobody speaks for us but ourselves."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
import trio
from trio.testing import MockClock

from vexil.node.announcements import (
    ANNOUNCEMENTS_MAX,
    DISPUTED_S,
    EARLIER,
    SELF,
    TWIN,
    TWINS_MAX,
    Announcement,
    Announcements,
    Place,
    Version,
)

EU, US = Place("eu-1", "aa"), Place("us-1", "bb")
BOTH = {EU, US}


def of(place: Place, *, start: int = 1, life: int = 0) -> Announcements:
    mine = Announcements()
    mine.become(place, start=start, life=life)
    return mine


def promise(mine: Announcements, **vectors: Mapping[int, int]) -> Announcement:
    mine.announce(vectors, hlc=1)
    assert mine.own is not None
    told = mine.of(mine.own)
    assert told is not None
    return told


def pass_on(source: Announcements, target: Announcements) -> int:
    return sum(target.take(told, BOTH) for told in list(source.newer_than(target.versions())))


def test_a_promise_gets_a_new_number_only_when_a_vector_is_another() -> None:
    mine = of(EU)
    first = promise(mine, shop={1: 1}, docs={1: 1})
    assert promise(mine, shop={1: 1}, docs={1: 1}) is first
    second = promise(mine, shop={1: 2}, docs={1: 1})
    assert second.version > first.version
    assert second.numbers["docs"] == first.numbers["docs"]


def test_nothing_is_promised_before_it_is_known_for_whom() -> None:
    nobody = Announcements()
    nobody.announce({"shop": {1: 1}}, hlc=1)
    assert nobody.versions() == {}


def test_who_knows_a_part_is_told_the_rest_only() -> None:
    eu, us = of(EU), of(US)
    promise(eu, shop={1: 1}, docs={1: 1})
    assert pass_on(eu, us) == 1
    promise(eu, shop={1: 2}, docs={1: 1})
    (told,) = eu.newer_than(us.versions())
    assert (list(told.vectors), told.since) == (["shop"], 2)
    assert us.take(told, BOTH)
    assert us.of(EU) == eu.of(EU)
    assert not us.take(told, BOTH)
    assert {place: v for place, v in us.versions().items() if place == EU} == eu.versions()


def test_a_piece_that_supposes_more_than_is_known_is_left() -> None:
    eu, us = of(EU), of(US)
    promise(eu, shop={1: 1})
    known = eu.versions()
    promise(eu, shop={1: 1}, docs={1: 5})
    (piece,) = eu.newer_than(known)
    assert not us.take(piece, BOTH)
    assert us.of(EU) is None


def test_a_new_life_begins_with_a_whole_promise_whatever_the_numbers_of_the_old_one() -> None:
    us = of(US)
    old = of(EU, start=1)
    for n in range(1, 9):
        promise(old, shop={1: n})
    pass_on(old, us)
    new = of(EU, start=2)
    promise(new, shop={1: 8})
    assert pass_on(new, us) == 1
    assert us.of(EU) == new.of(EU)
    assert pass_on(old, us) == 0, "an older life says nothing any more"


def test_what_two_nodes_know_is_equal_iff_their_hashes_are() -> None:
    eu, us = of(EU), of(US)
    promise(eu, shop={1: 1})
    promise(us, shop={1: 1})
    assert eu.digest() != us.digest()
    pass_on(eu, us)
    pass_on(us, eu)
    assert eu.digest() == us.digest()
    promise(eu, shop={1: 2})
    assert eu.digest() != us.digest()


@pytest.mark.parametrize("seed", range(30))
def test_pieces_in_any_order_never_make_more_than_was_promised(seed: int) -> None:
    rng = Random(seed)
    eu = of(EU)
    others = [of(Place(f"n{i}", "x")) for i in range(3)]
    promised: dict[str, dict[int, int]] = {"p": {}, "q": {}}
    for _ in range(60):
        if rng.random() < 0.4:
            name = rng.choice("pq")
            promised[name] = {**promised[name], 1: promised[name].get(1, 0) + 1}
            promise(eu, **promised)
        source, target = rng.choice([eu, *others]), rng.choice(others)
        for told in list(source.newer_than(target.versions())):
            names = sorted(told.numbers, key=lambda n: told.numbers[n])
            if told.place == EU and len(names) > 1 and rng.random() < 0.5:
                kept = names[:1]
                cut = Version(told.version.start, told.numbers[kept[0]])
                told = Announcement(  # noqa: PLW2901 - a page that ended early
                    told.place, cut, 1, {kept[0]: told.vectors[kept[0]]}, {kept[0]: cut.number}, told.since
                )
            target.take(told, BOTH)
        for other in others:
            known = other.of(EU)
            for name in "pq" if known is not None else ():
                assert known is not None
                assert known.vector(name).get(1, 0) <= promised[name].get(1, 0)
    for other in others:
        pass_on(eu, other)
        known, own = other.of(EU), eu.of(EU)
        assert (known and known.vectors) == (own and own.vectors)


def test_only_places_that_count_are_kept() -> None:
    us = of(US)
    eu = of(EU)
    told = promise(eu, shop={1: 1})
    assert not us.take(told, {US})
    assert us.take(told, BOTH)
    us.follow({US})
    assert us.of(EU) is None
    assert us.versions() == {}


def test_our_own_promise_of_a_later_start_says_that_we_are_an_old_copy() -> None:
    old = of(EU, start=3, life=31)
    promise(old, shop={1: 1})
    later = of(EU, start=4, life=41)
    told = promise(later, shop={1: 9})
    assert not old.take(told, BOTH)
    assert old.overtaken == told
    mine = promise(old, shop={1: 9})
    assert mine.version > told.version, "once the caller knows that it keeps it, it speaks again"
    assert mine.vector("shop") == {1: 9}


def test_nothing_is_promised_already_while_another_life_has_promised_more() -> None:
    """What it has promised stands for us, until we have promised it ourselves."""
    old = of(EU, start=3, life=31)
    assert not old.has_promised({"shop": {1: 9}})
    promise(old, shop={1: 9})
    assert old.has_promised({"shop": {1: 9}})
    assert not old.has_promised({"shop": {1: 9}, "docs": {1: 1}})
    told = promise(of(EU, start=4, life=41), shop={1: 9})
    old.take(told, BOTH)
    assert not old.has_promised({"shop": {1: 9}})
    assert promise(old, shop={1: 9}).version > told.version


def test_what_another_life_under_our_start_number_said_is_told_from_our_own() -> None:
    before, after = Announcements(), Announcements()
    before.become(EU, start=3, above=1_000, life=31)
    after.become(EU, start=3, above=2_000, life=32)
    old = promise(before, shop={1: 9})
    mine = promise(after, shop={1: 1})
    assert (after.speaker(old), after.speaker(mine)) == (EARLIER, SELF)
    assert not after.take(old, BOTH)
    assert after.overtaken is None
    assert before.speaker(mine) == EARLIER
    before.take(mine, BOTH)
    assert before.overtaken == mine


def twins() -> tuple[Announcements, Announcements]:
    """Two processes of one slot that began at once, each of which has promised what the other one lacks."""
    left, right = of(EU, start=3, life=31), of(EU, start=3, life=32)
    promise(left, shop={1: 5}, _system={31: 1})
    promise(right, shop={1: 4, 2: 7}, _system={32: 1})
    return left, right


def test_pieces_of_two_lives_are_never_joined_to_one_promise() -> None:
    left, right = twins()
    us = of(US)
    pass_on(left, us)
    promise(right, shop={1: 4, 2: 8}, _system={32: 1})
    pass_on(right, us)
    known = us.of(EU)
    assert known is not None
    assert known.vectors in ({"shop": {1: 5}, "_system": {31: 1}}, {"shop": {1: 4, 2: 8}, "_system": {32: 1}})


def test_whoever_knows_of_our_beginning_lives_beside_us_and_neither_promises_any_more() -> None:
    left, right = twins()
    us = of(US)
    told = promise(right, shop={1: 5, 2: 7}, _system={31: 1, 32: 1})
    assert left.speaker(told) == TWIN
    left.take(told, BOTH)
    assert left.overtaken is None
    dispute = left.of(EU)
    assert dispute is not None
    assert dispute.twins == (32,)
    assert dispute.version > told.version
    assert dispute.vectors["shop"] == {1: 5, 2: 7}, "what an old copy is told that it lacks"
    assert dispute.vector("shop") == {}
    right.take(dispute, BOTH)
    pass_on(right, us)
    pass_on(left, us)
    assert us.of(EU) == left.of(EU) == right.of(EU) == dispute
    for twin in (left, right):
        twin.announce({"shop": {1: 99}}, hlc=1)
        assert twin.of(EU) == dispute


def test_a_twin_that_is_known_otherwise_is_disputed_once() -> None:
    left, _ = twins()
    left.dispute(32, hlc=1)
    dispute = left.of(EU)
    left.dispute(32, hlc=1)
    assert left.of(EU) is dispute
    left.dispute(33, hlc=1)
    again = left.of(EU)
    assert again is not None
    assert again.twins == (32, 33)


def test_a_copy_of_a_running_machine_is_a_twin_under_our_own_life() -> None:
    left, right = of(EU, start=3, life=31), of(EU, start=3, life=31)
    promise(left, shop={1: 1})
    told = promise(right, shop={1: 1}, docs={1: 1})
    assert left.speaker(told) == TWIN
    left.live_on(35)
    left.dispute(31, hlc=1)
    dispute = left.of(EU)
    assert dispute is not None
    assert right.speaker(dispute) == TWIN


def test_twins_are_bounded() -> None:
    left, _ = twins()
    for twin in range(100, 120):
        left.dispute(twin, hlc=1)
    dispute = left.of(EU)
    assert dispute is not None
    assert dispute.twins == tuple(range(120 - TWINS_MAX, 120))


async def test_a_promise_after_a_dispute_counts_when_a_twin_would_have_spoken_again(
    autojump_clock: MockClock,
) -> None:
    left, _ = twins()
    us = of(US)
    left.dispute(32, hlc=1)
    dispute = left.of(EU)
    pass_on(left, us)
    again = of(EU, start=4, life=41)
    assert dispute is not None
    again.take(dispute, BOTH)
    promise(again, shop={1: 5, 2: 7})
    pass_on(again, us)
    assert us.of(EU) == again.of(EU) == dispute
    await trio.sleep(DISPUTED_S)
    for known in (us.of(EU), again.of(EU)):
        assert known is not None
        assert known.vector("shop") == {1: 5, 2: 7}


async def test_a_twin_that_still_lives_disputes_again(autojump_clock: MockClock) -> None:
    left, right = twins()
    left.dispute(32, hlc=1)
    dispute = left.of(EU)
    assert dispute is not None
    right.take(dispute, BOTH)
    restarted = of(EU, start=4, life=41)
    restarted.take(dispute, BOTH)
    restarted.announce({"shop": {1: 5}, "_system": {31: 1, 32: 1, 41: 1}}, hlc=1)
    (told,) = restarted.newer_than({})
    right.take(told, BOTH)
    (answer,) = right.newer_than({})
    assert answer.version > told.version
    assert 41 in answer.twins
    assert restarted.speaker(answer) == TWIN


def test_the_places_are_bounded() -> None:
    us = of(US)
    places = {Place(f"n{i}", "x") for i in range(ANNOUNCEMENTS_MAX + 5)}
    for place in sorted(places):
        us.take(Announcement(place, Version(1, 1), 1, {"shop": {1: 1}}, {"shop": 1}), places)
    assert len(us.versions()) == ANNOUNCEMENTS_MAX


def test_what_we_are_asked_to_leave_out_is_our_own() -> None:
    eu = of(EU)
    promise(eu, shop={1: 1})
    assert eu.versions(own=False) == {}
    assert set(eu.versions()) == {EU}
