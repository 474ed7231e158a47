"""What is stable: the least of what everybody who counts has promised, and nothing while anybody's word is unknown."""

from __future__ import annotations

from collections.abc import Mapping

from vexil.node.announcements import Announcement, Announcements, Place, Version
from vexil.node.directory import Registration
from vexil.node.stability import Blocked, Stable, counted, may_still_take, stability


class Holding:
    """A state that has ``vv``, and the incarnations ``retired``."""

    def __init__(self, vv: Mapping[int, int], *retired: int) -> None:
        self.vv = dict(vv)
        self._retired = set(retired)

    def covers(self, vv: Mapping[int, int]) -> bool:
        return all(self.vv.get(i, 0) >= seq or i in self._retired for i, seq in vv.items())


EU, US, AP = (Registration(f"{r}-1", r, "00", None) for r in ("eu", "us", "ap"))
ALL = (EU, US, AP)
EVICTION = (7, 3)
GONE = Registration("ap-1", "ap", "00", EVICTION)
SYSTEM = Holding({7: 5})


def told(*promises: tuple[Registration, Mapping[str, Mapping[int, int]]]) -> Announcements:
    known = Announcements()
    places = {Place(r.slot, r.registration) for r, _ in promises}
    for registration, vectors in promises:
        place = Place(registration.slot, registration.registration)
        assert known.take(
            Announcement(place, Version(1, len(vectors)), 1, vectors, dict.fromkeys(vectors, 1)), places
        )
    return known


def at(shop: Mapping[int, int], system: Mapping[int, int] | None = None) -> dict[str, Mapping[int, int]]:
    return {"shop": shop, "_system": {7: 5} if system is None else system}


def of_shop(
    announcements: Announcements,
    *registrations: Registration,
    state: Holding | None = None,
    system: Holding = SYSTEM,
) -> Stable | Blocked:
    return stability(
        "shop",
        state or Holding({1: 9, 2: 4}),
        system,
        registrations=registrations,
        announcements=announcements,
    )


def names(found: Stable | Blocked) -> list[str]:
    return [waiting.place.slot for waiting in found.behind]


def test_the_least_of_all_promises_is_stable_and_who_is_behind_is_named() -> None:
    found = of_shop(told((EU, at({1: 9, 2: 4})), (US, at({1: 6, 2: 4})), (AP, at({1: 8}))), *ALL)
    assert isinstance(found, Stable)
    assert found.vv == {1: 6}
    assert names(found) == ["us-1", "ap-1"]


def test_a_member_that_has_promised_nothing_blocks() -> None:
    found = of_shop(told((EU, at({1: 9})), (US, at({1: 9}))), *ALL)
    assert isinstance(found, Blocked)
    assert [(w.place.slot, w.told) for w in found.behind] == [("ap-1", None)]


def test_a_promise_of_what_is_unknown_here_blocks() -> None:
    found = of_shop(told((EU, at({1: 9})), (US, at({1: 10}))), EU, US)
    assert isinstance(found, Blocked)
    assert names(found) == ["us-1"]


def test_a_promise_of_members_that_are_unknown_here_blocks_every_project() -> None:
    found = of_shop(told((EU, at({1: 9})), (US, at({1: 9}, {7: 5, 8: 1}))), EU, US)
    assert isinstance(found, Blocked)
    assert names(found) == ["us-1"]


def test_a_promise_under_another_registration_is_nobodys() -> None:
    again = Registration("us-1", "us", "11", None)
    assert isinstance(of_shop(told((EU, at({1: 9})), (US, at({1: 9}))), EU, again), Blocked)


def test_a_retired_incarnation_in_a_promise_is_known() -> None:
    found = of_shop(told((EU, at({1: 9, 5: 3})), (US, at({1: 9, 5: 3}))), EU, US, state=Holding({1: 9}, 5))
    assert isinstance(found, Stable)
    assert found.vv == {1: 9}


def test_an_evicted_member_counts_until_all_others_have_told_that_they_know() -> None:
    known = told((EU, at({1: 9})), (US, at({1: 9}, {7: 2})), (AP, at({1: 4})))
    assert counted((EU, US, GONE), known, SYSTEM) == [EU, US, GONE]
    found = of_shop(known, EU, US, GONE)
    assert isinstance(found, Stable)
    assert found.vv == {1: 4}
    known = told((EU, at({1: 9})), (US, at({1: 9}, {7: 3})), (AP, at({1: 4})))
    assert counted((EU, US, GONE), known, SYSTEM) == [EU, US]
    found = of_shop(known, EU, US, GONE)
    assert isinstance(found, Stable)
    assert found.vv == {1: 9}


def test_an_evicted_member_that_never_promised_blocks_for_as_long() -> None:
    known = told((EU, at({1: 9})), (US, at({1: 9}, {7: 2})))
    found = of_shop(known, EU, US, GONE)
    assert isinstance(found, Blocked)
    assert names(found) == ["ap-1"]


def test_an_eviction_by_a_retired_incarnation_is_known_to_all() -> None:
    known = told((EU, at({1: 9}, {8: 1})), (US, at({1: 9}, {8: 1})))
    assert counted((EU, US, GONE), known, Holding({8: 1}, 7)) == [EU, US]


def test_a_member_that_lacks_the_project_makes_nothing_of_it_stable() -> None:
    found = of_shop(told((EU, at({1: 9})), (US, {"_system": {7: 5}})), EU, US)
    assert isinstance(found, Stable)
    assert found.vv == {}


def test_without_members_nothing_is_stable() -> None:
    assert isinstance(of_shop(told()), Blocked)


def test_a_member_that_is_two_processes_promises_nothing() -> None:
    known = told((EU, at({1: 9, 2: 4})), (US, at({1: 9, 2: 4})))
    assert isinstance(of_shop(known, EU, US), Stable)
    place = Place(US.slot, US.registration)
    both = Announcement(place, Version(1, 9, 5), 1, at({1: 9, 2: 4}), {"shop": 9, "_system": 9}, twins=(6,))
    assert known.take(both, {place})
    assert both.vector("shop") == {}
    assert names(of_shop(known, EU, US)) == ["us-1"]
    assert isinstance(of_shop(known, EU, US), Blocked)


def takers(announcements: Announcements, *registrations: Registration) -> list[str]:
    states = {"shop": Holding({1: 9, 2: 4}), "_system": SYSTEM}
    return may_still_take(GONE, registrations, announcements, states)


def test_who_has_not_told_that_it_knows_of_an_end_may_still_take_what_was_on_its_way() -> None:
    known = told((EU, at({1: 9})), (US, at({1: 9}, {7: 2})))
    assert takers(known, EU, US, GONE) == ["us-1"]
    assert takers(told((EU, at({1: 9}))), EU, US, GONE) == ["us-1"]
    known = told((EU, at({1: 9})), (US, at({1: 9}, {7: 3})))
    assert takers(known, EU, US, GONE) == []


def test_who_has_promised_what_is_unknown_here_may_have_taken_it() -> None:
    assert takers(told((EU, at({1: 9})), (US, at({1: 9, 3: 1}))), EU, US, GONE) == ["us-1"]


def test_our_own_place_takes_nothing_that_we_do_not_know() -> None:
    known = told((US, at({1: 9})))
    known.become(Place("eu-1", "00"), start=1)
    assert takers(known, EU, US, GONE) == []
