"""Whatever is called on a node's peer port: an answer, or a refusal by a known code; and the node goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgpack
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Place,
    Stranger,
    check_roots,
    creates,
    node,
    push,
    running,
    shop,
    state_of,
    write,
)
from vexil.node.engine import Engine
from vexil.node.gossip.messages import Message
from vexil.node.seams import PeerIdentity, PeerRefused

CODES = {
    "member.exists",
    "member.invalid",
    "member.unknown",
    "method.unknown",
    "node.not_ready",
    "node.busy",
    "project.moved",
    "project.refused",
    "project.unknown",
    "snapshot.expired",
    "request.malformed",
}
good = Stranger(0xA1)
SOUND = [good.create(key).raw for key in "abc"]

integers = st.sampled_from([0, 1, 2, 3, 0xA1, -1, 1 << 62, 1 << 63, (1 << 64) - 1])
texts = st.sampled_from([SHOP, "_system", "other", "eu-1", "eu-2", "ap-9", "", "../x", "é", "x" * 201])
broken_changes = st.one_of(
    st.binary(max_size=30),
    st.builds(
        lambda i, seq, rest: bytes(msgpack.packb([1, i, seq, *rest])),
        integers,
        integers,
        st.lists(st.one_of(integers, st.binary(max_size=16), st.lists(integers, max_size=4)), max_size=9),
    ),
    st.builds(lambda raw, n: raw[:n], st.sampled_from(SOUND), st.integers(0, 200)),
)
raws = st.lists(st.one_of(st.sampled_from(SOUND), broken_changes), max_size=5)
flat = st.lists(st.one_of(integers, st.just(bytes(16)), st.integers(0, 5)), max_size=6)
values = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    texts,
    flat,
    raws,
    st.dictionaries(texts, st.one_of(flat, raws, integers, st.binary(max_size=12)), max_size=3),
)
NAMES = [
    "after",
    "ages",
    "announcements",
    "at",
    "below_floor",
    "buckets",
    "changes",
    "cursor",
    "cut",
    "first",
    "forked",
    "http_url",
    "incarnation",
    "more",
    "page_bytes",
    "part",
    "peer_url",
    "project",
    "projects",
    "skip",
    "versions",
    "vv",
    "vv_hash",
    "wall_ms",
]
likely: Mapping[str, st.SearchStrategy[object]] = {
    "after": st.sampled_from([b"", b"/", b"/flag/mine", b"\xff"]),
    "at": integers,
    "buckets": st.binary(max_size=129),
    "cursor": st.sampled_from(["", "1", "9", "x"]),
    "cut": st.integers(0, 3),
    "first": flat,
    "part": st.sampled_from(["header", "objects", "keys", ""]),
    "ages": st.dictionaries(texts, integers, max_size=3),
    "changes": st.dictionaries(texts, raws, max_size=3),
    "http_url": texts,
    "forked": st.lists(integers, max_size=3),
    "below_floor": st.lists(integers, max_size=3),
    "more": st.booleans(),
    "page_bytes": integers,
    "peer_url": texts,
    "project": texts,
    "projects": st.dictionaries(texts, st.binary(max_size=12), max_size=3),
    "skip": st.lists(integers, max_size=3),
    "vv": flat,
    "vv_hash": texts,
    "wall_ms": integers,
}
maps = st.one_of(
    st.fixed_dictionaries({"v": st.just(1)}, optional=dict.fromkeys(NAMES, values)),
    st.fixed_dictionaries({"v": st.just(1), **likely}),
)
bodies = st.one_of(st.binary(max_size=40), maps.map(lambda m: bytes(msgpack.packb(m))))
callers = st.one_of(
    st.just(EU_2),
    st.builds(PeerIdentity, texts, st.sampled_from(["eu", "us", "", "a/b"])),
)
methods = st.sampled_from(
    [
        "join",
        "digest",
        "pull",
        "push",
        "push",
        "snapshot",
        "snapshot",
        "past",
        "announce",
        "tree",
        "cells",
        "",
    ]
)
calls = st.lists(st.tuples(callers, methods, bodies), min_size=1, max_size=8)

Call = tuple[PeerIdentity, str, bytes]


async def answer_of(engine: Engine, call: Call) -> tuple[bytes | None, str]:
    """The answer, or the code of the refusal."""
    try:
        return await engine.peer_service.serve(*call), ""
    except PeerRefused as refused:
        return None, refused.code


async def ask(engine: Engine, call: Call) -> None:
    """One call: an answer of the protocol, or a refusal that has changed nothing. A stranger can only join."""
    caller, method, _ = call
    known = engine.is_member(caller.node, "")
    before = state_of(engine)
    told, code = await answer_of(engine, call)
    if told is None:
        assert code in CODES
        assert state_of(engine) == before
    else:
        Message.decode(told)
        assert known or method == "join"
        if method != "push":
            after = state_of(engine)
            assert {**after, "_system": None} == {**before, "_system": None}


def on_virtual_time(main: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    trio.run(main, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


async def _junk_before_and_after_ready(junk: list[Call]) -> None:
    place = Place()
    engine = place.engine()
    for call in junk:
        before = state_of(engine)
        assert await answer_of(engine, call) == (None, "node.not_ready")
        assert state_of(engine) == before
    async with node(place) as (_, engine):
        await write(engine, creates("mine"))
        for call in junk:
            await ask(engine, call)
        await check_sound(place, engine)
    async with running(place.engine()) as again:
        check_roots(again)
        await write(again, creates("after"))


async def check_sound(place: Place, engine: Engine) -> None:
    """What it was sent has not hurt it: it writes, takes from others, tells, and its numbers are right."""
    check_roots(engine)
    await write(engine, creates("later"))
    fresh = Stranger(0xB0)
    await push(engine, [fresh.create("fresh")])
    assert {"mine", "later", "fresh"} <= set(shop(engine).flag_keys())
    engine.status()
    other = await Stranger(0xC0).follow(engine)
    assert other.replica.root_hash() == shop(engine).replica.root_hash()
    await engine.drain()
    assert not [event for event, _ in place.kept.errors if event == "an object could not be read"]


@settings(max_examples=60, deadline=None)
@given(calls)
def test_junk_is_answered_or_refused_and_the_node_goes_on(junk: list[Call]) -> None:
    on_virtual_time(_junk_before_and_after_ready, junk)
