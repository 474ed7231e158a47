"""Levelling announcements with a peer: bounded pages, both ways, whatever is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexil.node.announcements import TWINS_MAX, Announcement, Announcements, Place
from vexil.node.gossip import announce, messages
from vexil.node.gossip.messages import Malformed, Message

EVERYBODY = {Place(f"{name}-1", "00") for name in ("eu", "us", "ap")}
BIG = dict.fromkeys(range(1, announce.PAGE_ENTRIES_MAX // 2), 1)


class Node:
    """The promises of one node, of which all members count."""

    def __init__(self, name: str, *, start: int = 1, counted: set[Place] | None = None) -> None:
        self.announcements = Announcements()
        self.announcements.become(Place(name, "00"), start=start)
        self.counted = EVERYBODY if counted is None else counted
        self.heard: list[Announcement] = []

    def promise(self, **vectors: Mapping[int, int]) -> Node:
        self.announcements.announce(vectors, hlc=7)
        return self

    def take_announcements(self, announcements: Iterable[Announcement]) -> None:
        for told in announcements:
            self.heard.append(told)
            self.announcements.take(told, self.counted)


def asks(peer: Node, requests: list[bytes]) -> Callable[[Mapping[str, object]], object]:
    async def call(members: Mapping[str, object]) -> Message:
        requests.append(messages.encode(members))
        answer = announce.serve(peer, Message.decode(requests[-1]))
        assert len(answer) < messages.FRAME_BYTES_MAX
        return Message.decode(answer)

    return call


async def levelled(here: Node, there: Node, *, first: bool = False) -> list[bytes]:
    requests: list[bytes] = []
    await announce.exchange(here, asks(there, requests), first=first)  # type: ignore[arg-type]  # the call of a test
    return requests


async def test_one_exchange_levels_both_sides_and_passes_on_what_others_said() -> None:
    eu, us = Node("eu-1").promise(shop={1: 1}), Node("us-1").promise(shop={1: 1, 2: 2})
    ap = Node("ap-1").promise(shop={3: 3})
    await levelled(us, ap)
    await levelled(eu, us)
    assert eu.announcements.digest() == us.announcements.digest()
    assert set(eu.announcements.versions()) == EVERYBODY, "ap-1 was never met"
    assert len(await levelled(eu, us)) == 1


async def test_what_does_not_fit_one_page_comes_in_several() -> None:
    eu = Node("eu-1").promise(**{f"p{n}": BIG for n in range(9)})
    us = Node("us-1").promise(**{f"q{n}": BIG for n in range(9)})
    requests = await levelled(eu, us)
    assert eu.announcements.digest() == us.announcements.digest()
    assert 4 <= len(requests) <= 12
    known = us.announcements.of(Place("eu-1", "00"))
    assert known is not None
    assert len(known.vectors) == 9


async def test_one_vector_of_any_size_fits_a_frame() -> None:
    eu = Node("eu-1").promise(shop={(1 << 63) + i: 1 << 40 for i in range(messages.INCARNATIONS_MAX)})
    us = Node("us-1")
    await levelled(eu, us)
    assert eu.announcements.digest() == us.announcements.digest()


async def test_a_peer_that_takes_nothing_ends_the_exchange() -> None:
    eu, us = Node("eu-1").promise(shop={1: 1}), Node("us-1", counted=set()).promise(shop={2: 1})
    assert len(await levelled(eu, us)) == 2
    assert eu.announcements.of(Place("us-1", "00")) is not None


async def test_a_node_that_has_started_is_told_what_it_had_promised_before() -> None:
    before, us = Node("eu-1").promise(shop={1: 9}), Node("us-1")
    await levelled(before, us)
    after = Node("eu-1", start=2).promise(shop={1: 9})
    await levelled(after, us, first=True)
    (heard,) = [told for told in after.heard if told.place.slot == "eu-1"]
    assert (heard.version.start, heard.vector("shop")) == (1, {1: 9})
    assert us.announcements.digest() == after.announcements.digest()


async def test_a_dispute_of_any_size_comes_as_one(autojump_clock: object) -> None:
    eu, us = Node("eu-1").promise(**{f"p{n}": BIG for n in range(9)}), Node("us-1")
    eu.announcements.dispute(77, hlc=1)
    await levelled(eu, us)
    assert eu.announcements.digest() == us.announcements.digest()
    known = us.announcements.of(Place("eu-1", "00"))
    assert known is not None
    assert (known.twins, len(known.vectors)) == ((77,), 9)


ROWS = [
    [],
    ["eu-1", "00", 1, 1],
    ["eu-1", "00", 1, 1, 0, 1, 0, []],
    [1, "00", 1, 1, 0, 1, 0, [], []],
    ["eu-1", "0" * 99, 1, 1, 0, 1, 0, [], []],
    ["eu-1", "00", -1, 1, 0, 1, 0, [], []],
    ["eu-1", "00", 1, 1, "x", 1, 0, [], []],
    ["eu-1", "00", announce.NUMBER_MAX + 1, 1, 0, 1, 0, [], []],
    ["eu-1", "00", 1, (1 << 64) - 1, 0, 1, 0, [], []],
    ["eu-1", "00", 1, 1, 0, 1, 0, [["shop"]], []],
    ["eu-1", "00", 1, 1, 0, 1, 0, [["shop", 1, [1]]], []],
    ["eu-1", "00", 1, 1, 0, 1, 0, [["shop", 1, [0, 1]]], []],
    ["eu-1", "00", 1, 1, 0, 1, 0, [["shop", 2, [1, 1]]], []],
    ["eu-1", "00", 1, 1, 0, 1, 0, [], ["x"]],
    ["eu-1", "00", 1, 1, 0, 1, 0, [], list(range(1, TWINS_MAX + 2))],
]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_is_none_is_refused_and_nothing_of_it_is_kept(row: list[object]) -> None:
    us = Node("us-1")
    with pytest.raises(Malformed):
        announce.serve(us, Message.decode(messages.encode({"announcements": [row]})))
    assert us.announcements.versions() == {}


SCALARS = st.sampled_from([None, True, -1, 0, 1, 2, 1 << 63, b"", "", "eu-1", "us-1", "00", "x" * 300])
INNER = st.one_of(SCALARS, st.lists(st.one_of(SCALARS, st.lists(SCALARS, max_size=4)), max_size=3))
JUNK = st.one_of(SCALARS, st.lists(st.one_of(SCALARS, st.lists(INNER, max_size=8)), max_size=3))


@given(st.fixed_dictionaries({}, optional={"versions": JUNK, "announcements": JUNK}))
def test_whatever_is_sent_is_answered_or_refused(members: dict[str, object]) -> None:
    message = Message.decode(messages.encode(members))
    try:
        announce.serve(Node("us-1").promise(shop={1: 1}), message)
    except Malformed:
        return
