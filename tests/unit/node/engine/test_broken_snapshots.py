"""What a peer answers that is not so, or does not answer at all, while its state is taken: nothing has happened."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from tests.unit.node.engine.snapshot_worlds import (
    Handle,
    checkpoints,
    make_pages_small,
    nothing_has_happened,
    own_checkpoint,
    state,
    two,
)
from vexil.node import snapshots as taking
from vexil.node.gossip import snapshot_source
from vexil.node.seams import PeerError, PeerNonsense, PeerRefused, PeerUnreachable


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of many pages, so that things can happen between them."""
    make_pages_small(monkeypatch)


Alter = Any


def truncated(answer: dict[str, Any]) -> None:
    answer["page"] = answer["page"][:-1]


def altered(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    fields = page[0][1][0][2]
    cell = msgpack.unpackb(fields[1])
    cell[2] += 1
    fields[1] = msgpack.packb(cell)
    answer["page"] = msgpack.packb(page)


def ahead_of_its_vector(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    fields = page[0][1][0][2]
    cell = msgpack.unpackb(fields[1])
    cell[1] = 1 << 40
    fields[1] = msgpack.packb(cell)
    answer["page"] = msgpack.packb(page)


def without_a_cell(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    del page[0][1][0][2][:2]
    answer["page"] = msgpack.packb(page)


def without_an_object(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    del page[0]
    answer["page"] = msgpack.packb(page)


def an_object_twice(answer: dict[str, Any]) -> None:
    page = msgpack.unpackb(answer["page"])
    page.append(page[0])
    answer["page"] = msgpack.packb(page)


def empty(answer: dict[str, Any]) -> None:
    answer["page"] = b"\x90"


def standing_still(answer: dict[str, Any]) -> None:
    answer["more"], answer["after"], answer["at"] = True, b"", 0


def cut_short(answer: dict[str, Any]) -> None:
    answer["more"] = False


def without_a_cursor(answer: dict[str, Any]) -> None:
    answer["more"] = True
    answer.pop("after", None)


BROKEN = [
    truncated,
    altered,
    ahead_of_its_vector,
    without_a_cell,
    without_an_object,
    an_object_twice,
    empty,
    standing_still,
    cut_short,
    without_a_cursor,
]


@pytest.mark.parametrize("alter", BROKEN)
async def test_a_broken_page_changes_nothing(autojump_clock: object, alter: Alter) -> None:
    async with two() as both:
        before = state(both.us)
        pages = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal pages
            raw = await hand_on(msgpack.packb(request))
            if method == "snapshot" and request.get("part") == "objects":
                pages += 1
                if pages == 3:
                    answer = msgpack.unpackb(raw)
                    alter(answer)
                    return bytes(msgpack.packb(answer))
            return raw

        both.wire.meddle = meddle
        with pytest.raises(PeerNonsense):
            await both.pull()
        assert pages >= 3
        await nothing_has_happened(both, before)
        both.wire.meddle = None
        await both.pull()
        assert both.same()


@pytest.mark.parametrize("member", ["header_bytes", "objects", "keys", "cut"])
@pytest.mark.parametrize("wrong", [-1, 0, 1, 10**9, 1 << 63, "x", None])
async def test_a_manifest_that_is_not_true_changes_nothing(
    autojump_clock: object, member: str, wrong: object
) -> None:
    async with two() as both:
        before = state(both.us)
        told = []

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            answer = msgpack.unpackb(await hand_on(msgpack.packb(request)))
            if method == "snapshot" and "cut" not in request:
                told.append((answer[member], wrong))
                answer[member] = wrong
            return bytes(msgpack.packb(answer))

        both.wire.meddle = meddle
        try:
            await both.pull()
        except PeerError:
            await nothing_has_happened(both, before)
        else:
            assert [wrong] == [true for true, _ in told]


async def test_a_page_of_another_place_changes_nothing(autojump_clock: object) -> None:
    async with two() as both:
        before = state(both.us)
        kept: list[bytes] = []

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            raw = await hand_on(msgpack.packb(request))
            if method == "snapshot" and request.get("part") == "objects":
                kept.append(raw)
                if len(kept) == 4:
                    answer, earlier = msgpack.unpackb(raw), msgpack.unpackb(kept[1])
                    return bytes(msgpack.packb({**answer, "page": earlier["page"]}))
            return raw

        both.wire.meddle = meddle
        with pytest.raises(PeerNonsense):
            await both.pull()
        await nothing_has_happened(both, before)


async def test_a_peer_that_never_comes_to_an_end_is_left(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two() as both:
        before = state(both.us)
        monkeypatch.setattr(snapshot_source, "BYTES_MAX", 10_000)
        with pytest.raises(PeerNonsense, match="more than"):
            await both.pull()
        await nothing_has_happened(both, before)


async def test_lost_pages_are_asked_for_again_from_where_it_was(autojump_clock: object) -> None:
    async with two() as both:
        lost = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal lost
            raw = await hand_on(msgpack.packb(request))
            if method == "snapshot" and "cut" in request and len(both.wire.asked) % 3:
                lost += 1
                raise PeerUnreachable("the answer is lost")
            return raw

        both.wire.meddle = meddle
        await both.pull()
        assert lost
        assert both.same()
        assert sum("cut" not in request for request in both.wire.asked) == 1


async def test_a_peer_that_has_begun_anew_is_asked_for_a_new_cut(autojump_clock: object) -> None:
    async with two() as both:
        pages = 0

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            nonlocal pages
            if method == "snapshot" and request.get("part") == "objects":
                pages += 1
                if pages == 4:
                    raise PeerRefused("snapshot.expired", "who are you")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        await both.pull()
        assert both.same()
        assert sum("cut" not in request for request in both.wire.asked) == 2
        assert await checkpoints(both) == [own_checkpoint(both)]


async def test_a_peer_that_never_keeps_a_cut_is_not_asked_for_ever(autojump_clock: object) -> None:
    async with two() as both:
        before = state(both.us)

        async def meddle(method: str, request: dict[str, Any], hand_on: Handle) -> bytes:
            if method == "snapshot" and "cut" in request:
                raise PeerRefused("snapshot.expired", "who are you")
            return await hand_on(msgpack.packb(request))

        both.wire.meddle = meddle
        with pytest.raises(PeerRefused):
            await both.pull()
        assert sum("cut" not in request for request in both.wire.asked) == taking.BEGINNINGS_MAX
        await nothing_has_happened(both, before)
