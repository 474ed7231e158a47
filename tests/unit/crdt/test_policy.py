"""Each read policy, on lanes made by hand."""

from __future__ import annotations

from itertools import permutations

import pytest

from vexil.crdt.cell import Lane
from vexil.crdt.payload import UNREADABLE, encode, tombstone
from vexil.crdt.policy import (
    MISSING,
    NOTHING,
    killed,
    lww,
    map_entry,
    needs_review,
    present,
    revoked,
)

REMOVED = tombstone("r")
JUNK = b"\xc1"


def lane(incarnation: int, hlc: int, value: object = None, *, payload: bytes | None = None) -> Lane:
    return Lane(incarnation, 1, hlc, encode(f"a{incarnation}", value) if payload is None else payload)


def test_the_last_writer_wins_and_the_others_are_siblings() -> None:
    lanes = [lane(1, 30, "late"), lane(2, 10, "early"), lane(3, 20, "middle")]
    for order in permutations(lanes):
        outcome = lww(order)
        assert outcome.value == "late"
        assert outcome.winner == lanes[0]
        assert set(outcome.siblings) == set(lanes)


def test_equal_stamps_are_decided_by_the_incarnation() -> None:
    lanes = [lane(1, 10, "x"), lane(2, 10, "y")]
    assert lww(lanes).value == lww(lanes[::-1]).value == "y"


def test_equal_values_are_no_conflict_whoever_wrote_them() -> None:
    assert lww([lane(1, 10, {"a": 1, "b": [2]}), lane(2, 20, {"b": [2], "a": 1})]).siblings == ()


@pytest.mark.parametrize(("left", "right"), [(1, True), (0, False), (10, 10.0), ("1", 1), (None, False)])
def test_values_that_python_confuses_are_a_conflict(left: object, right: object) -> None:
    assert lww([lane(1, 10, left), lane(2, 20, right)]).siblings


def test_no_lane_is_no_value() -> None:
    assert lww([]) == map_entry([]) == present([]) == NOTHING


def test_an_entry_edited_beside_its_removal_is_there_and_contested() -> None:
    # The remove is later: adding wins all the same.
    lanes = [lane(1, 10, "edited"), lane(2, 99, payload=REMOVED)]
    assert map_entry(lanes).value == "edited"
    assert map_entry(lanes).siblings == lanes
    assert present(lanes).value is True
    assert present(lanes).siblings == lanes


def test_an_entry_that_all_have_removed_is_gone() -> None:
    lanes = [lane(1, 10, payload=REMOVED), lane(2, 20, payload=REMOVED)]
    assert map_entry(lanes) == present(lanes) == NOTHING


def test_an_element_added_twice_is_no_conflict() -> None:
    assert present([lane(1, 10, True), lane(2, 20, 1)]).siblings == ()


def test_what_cannot_be_read_wins_by_its_stamp_and_is_not_hidden() -> None:
    lanes = [lane(1, 10, "x"), lane(2, 20, payload=JUNK)]
    assert lww(lanes).value is UNREADABLE
    assert lww(lanes).siblings == lanes
    assert lww([lane(1, 10, payload=JUNK)]).siblings == ()


def test_one_kill_is_enough_whenever_it_was_said() -> None:
    lanes = [lane(1, 10, True), lane(2, 99, False), lane(3, 50, False)]
    for order in permutations(lanes):
        outcome = killed(order)
        assert outcome.value is True
        assert outcome.winner == lanes[0]
        assert set(outcome.siblings) == set(lanes)


def test_it_is_not_killed_where_nobody_says_so() -> None:
    assert killed([]).value is False
    assert killed([lane(1, 10, False), lane(2, 20, False)]) == (False, lane(2, 20, False), ())
    assert killed([lane(1, 10, payload=REMOVED)]).value is False


@pytest.mark.parametrize("junk", [0, 1, "no", None, [], {}, {"killed": False}])
def test_a_kill_that_cannot_be_understood_kills(junk: object) -> None:
    assert killed([lane(1, 10, junk), lane(2, 20, False)]).value is True


def test_a_kill_that_cannot_be_read_kills() -> None:
    assert killed([lane(1, 10, payload=JUNK)]).value is True


def test_a_removed_kill_beside_a_kill_is_a_race() -> None:
    assert len(killed([lane(1, 10, True), lane(2, 20, payload=REMOVED)]).siblings) == 2


def test_revoked_by_any_lane_readable_or_not() -> None:
    assert not revoked([])
    assert revoked([lane(1, 10, False)])
    assert revoked([lane(1, 10, payload=JUNK)])
    assert revoked([lane(1, 10, payload=REMOVED)])


def test_review_is_needed_where_a_removal_stands_beside_a_value() -> None:
    value, removal = lane(1, 10, {}), lane(2, 20, payload=REMOVED)
    assert needs_review([value, removal])
    assert not needs_review([value, value])
    assert not needs_review([removal])
    assert not needs_review([])


def test_missing_is_told_from_null() -> None:
    assert lww([lane(1, 10, None)]).value is None
    assert MISSING is not None
