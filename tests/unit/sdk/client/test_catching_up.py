"""Reading one's own writes: waiting for the token that a write has returned."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import trio

from tests.unit.sdk.client.nodes import INCARNATION, Node, event, on, service, token
from vexil.node.api import tokens
from vexil.sdk.client.options import CATCH_UPS_MAX, Options


async def test_what_the_set_includes_already_is_reached_at_once(autojump_clock: Any) -> None:
    node = Node(seq=5)
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        assert await it.catch_up(token(5), 1.0)
        assert not node.polls


async def test_the_stream_brings_it_without_a_question(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it, trio.open_nursery() as nursery:
        await it.until(lambda: it.status.ready)

        async def write() -> None:
            await trio.sleep(0.1)
            node.change("a", on(False))

        nursery.start_soon(write)
        assert await it.catch_up(token(2), 1.0)
        assert it.value("a") is False
        assert not node.polls


async def test_a_node_that_polls_are_sent_to_is_asked_with_the_token(autojump_clock: Any) -> None:
    node = Node(stream_answer=(404, {}, b""))
    async with service(node) as it, trio.open_nursery() as nursery:
        await it.until(lambda: it.status.ready)

        async def write() -> None:
            await trio.sleep(0.8)
            node.seq, node.flags = 2, {"a": on(False)}

        nursery.start_soon(write)
        assert await it.catch_up(token(2), 5.0)
        assert it.value("a") is False
        headers = node.polls[-1][1]
        assert headers["Vexil-Token"] == token(2)
        assert 4000 < int(headers["Vexil-Wait-Ms"]) <= 5000


async def test_a_write_that_changes_nothing_here_is_reached_too(autojump_clock: Any) -> None:
    node = Node()
    node_version = node.document
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        node.seq = 2  # the stream says nothing of it
        before = it.flag_set
        assert await it.catch_up(token(2), 5.0)
        assert it.held.token == token(2)
        assert before.flags == it.flag_set.flags
    assert node_version["version"] == "v1"


async def test_what_no_node_has_is_not_reached_in_its_time(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1"), Node("ap-1")
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        began = trio.current_time()
        assert not await it.catch_up(token(9), 3.0)
        assert 2.9 < trio.current_time() - began < 3.1
        assert it.status.healthy, "the set is what it was"
        assert it.held.token == token(1)


async def test_another_node_is_asked_if_ours_does_not_have_it(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1"), Node("ap-1", seq=2, flags={"a": on(False)})
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        assert await it.catch_up(token(2), 25.0)
        assert it.value("a") is False
        eu.send(event("patch", {"from": "v0", "version": "v1", "set": {}, "delete": []}, token(1)))
        await trio.sleep(1)
        assert it.value("a") is False, "and what its own node says of the past is passed over"


async def test_a_token_that_is_none_is_refused_once(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        node.flags_answer = (400, {}, b'{"code": "token.invalid"}')
        began = trio.current_time()
        assert not await it.catch_up("nonsense", 30.0)
        assert trio.current_time() - began < 1
        assert len(node.polls) == 1


async def test_the_set_never_goes_back_for_a_token(autojump_clock: Any) -> None:
    # Another's write, which our node has not; the node that has it lacks what we have.
    eu, ap = Node("eu-1", seq=5), Node("ap-1", seq=4, flags={"a": on(False)})
    foreign = token(3, incarnation=8)
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        eu.flags_answer = (200, {"vexil-behind": "true"}, b"")
        both = tokens.encode("shop", {INCARNATION: 4, 8: 3})
        ap.flags_answer = (200, {"vexil-token": both}, json.dumps(ap.document).encode())
        assert not await it.catch_up(foreign, 3.0)
        assert it.value("a") is True
        assert it.held.token == token(5)


async def test_a_node_must_have_what_is_here_too(autojump_clock: Any) -> None:
    # Its token does not tell: the one incarnation that is compared may have been retired. So it is asked.
    eu, ap = Node("eu-1", seq=5), Node("ap-1", seq=4, flags={"a": on(False)})
    foreign = token(3, incarnation=8)
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        eu.refuses = True
        ap.flags_for[foreign] = (200, {"vexil-token": foreign}, json.dumps(ap.document).encode())
        assert not await it.catch_up(foreign, 3.0)
        assert it.value("a") is True
        assert len(ap.polls) > 1


async def test_waiting_while_nobody_answers_ends_and_is_no_busy_loop(autojump_clock: Any) -> None:
    node = Node(refuses=True)
    async with service(node) as it:
        assert not await it.catch_up(token(1), 100.0)
        assert len(node.polls) < 150


async def test_too_many_who_wait_are_told_no_at_once(autojump_clock: Any) -> None:
    async with service(Node(mute=True), options=Options(stream=False)) as it:
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await it.catch_up(token(9), 20.0))

        async with trio.open_nursery() as nursery:
            for _ in range(CATCH_UPS_MAX + 50):
                nursery.start_soon(ask)
            await trio.sleep(1)
            assert 40 <= len(answers) <= 50
    assert not any(answers)


async def test_whoever_waits_at_the_end_is_told(autojump_clock: Any) -> None:
    answers: list[bool] = []
    async with trio.open_nursery() as nursery:
        async with service(Node(mute=True)) as it:

            async def ask(reached: Any) -> None:
                answers.append(await reached())

            for _ in range(10):
                nursery.start_soon(ask, partial(it.catch_up, token(9), 50.0))
            await trio.sleep(1)
        with trio.fail_after(2):
            while len(answers) < 10:  # noqa: ASYNC110 - time is virtual
                await trio.sleep(0.1)
    assert not any(answers)
