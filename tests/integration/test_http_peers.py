"""Calls between nodes over real loopback sockets: what arrives, and what a caller is told when it does not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.integration.peer_servers import (
    CALLER,
    Cutter,
    Tampering,
    address,
    echo,
    peer,
    raw_server,
    transport,
)
from vexil.node.adapters.http_peers import HttpPeerTransport, PeerClientLimits
from vexil.node.adapters.peer_app import PeerAppLimits
from vexil.node.adapters.peer_auth import (
    FRAME_LIMIT_BYTES,
    SessionLimits,
)
from vexil.node.seams import PeerAddress, PeerIdentity, PeerNonsense, PeerRefused, PeerUnreachable

TIMEOUT_MS = 5_000


async def refusal(
    client: HttpPeerTransport, to: PeerAddress, body: bytes = b"", *, timeout_ms: int = TIMEOUT_MS
) -> str:
    with pytest.raises(PeerRefused) as caught:
        await client.call(to, "push", body, timeout_ms=timeout_ms)
    return caught.value.code


# ------------------------------------------------------------------------------------------------------ round trips


async def test_a_call_reaches_the_handler_with_caller_method_and_body() -> None:
    seen: list[tuple[PeerIdentity, str, bytes]] = []

    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        seen.append((caller, method, body))
        return b"answer to " + method.encode()

    async with peer(handler) as there, transport() as client:
        for method in ("join", "digest", "pull", "push"):
            assert (
                await client.call(there, method, b"body", timeout_ms=TIMEOUT_MS)
                == b"answer to " + method.encode()
            )
    assert seen == [(CALLER, method, b"body") for method in ("join", "digest", "pull", "push")]


async def test_empty_and_largest_bodies_go_both_ways() -> None:
    async with peer() as there, transport() as client:
        for body in (b"", bytes(FRAME_LIMIT_BYTES)):
            assert await client.call(there, "pull", body, timeout_ms=TIMEOUT_MS) == body


async def test_fifty_calls_at_once_open_one_session_and_get_their_own_answers() -> None:
    openings = Counter[str]()

    def count(to: PeerAddress, method: str, sent: int, received: int) -> None:
        openings[method] += 1

    async with peer() as there, transport(on_bytes=count) as client:

        async def one(number: int) -> None:
            body = b"%d" % number * number
            assert await client.call(there, "push", body, timeout_ms=TIMEOUT_MS) == body

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
    assert openings == {"session": 1, "push": 50}


async def test_bytes_of_bodies_are_counted_per_peer_and_method() -> None:
    counted: list[tuple[str, str, int, int]] = []

    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        return bytes(70)

    async with peer(handler) as there:

        def count(to: PeerAddress, method: str, sent: int, received: int) -> None:
            counted.append((to.url, method, sent, received))

        async with transport(on_bytes=count) as client:
            await client.call(there, "digest", bytes(30), timeout_ms=TIMEOUT_MS)
        assert counted == [(there.url, "session", 0, 48), (there.url, "digest", 30, 70)]


async def test_calls_leave_no_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with peer() as there, transport() as client:
        await client.call(there, "digest", b"", timeout_ms=TIMEOUT_MS)
    assert caplog.messages == []


# --------------------------------------------------------------------------------------------------------- sessions


async def test_a_restarted_peer_gets_a_new_session_and_the_caller_notices_nothing() -> None:
    opened = Counter[str]()

    def count(to: PeerAddress, method: str, sent: int, received: int) -> None:
        opened[method] += 1

    async with transport(on_bytes=count) as client:
        async with peer() as there:
            assert await client.call(there, "push", b"before", timeout_ms=TIMEOUT_MS) == b"before"
        port = int(there.url.rpartition(":")[2])
        async with peer(port=port):
            # Large: the refusal comes while most of the body is still on its way.
            body = bytes(FRAME_LIMIT_BYTES)
            assert await client.call(there, "push", body, timeout_ms=TIMEOUT_MS) == body
    assert opened == {"session": 2, "push": 3}


async def test_fifty_calls_to_a_restarted_peer_open_one_new_session() -> None:
    opened = Counter[str]()

    def count(to: PeerAddress, method: str, sent: int, received: int) -> None:
        opened[method] += 1

    async with transport(on_bytes=count) as client:
        async with peer() as there:
            await client.call(there, "push", b"", timeout_ms=TIMEOUT_MS)
        async with peer(port=int(there.url.rpartition(":")[2])), trio.open_nursery() as nursery:

            async def one() -> None:
                await client.call(there, "push", b"", timeout_ms=TIMEOUT_MS)

            for _ in range(50):
                nursery.start_soon(one)
    assert opened["session"] == 2


async def test_a_peer_that_never_knows_its_own_sessions_is_asked_twice_and_no_more() -> None:
    opened = Counter[str]()

    def count(to: PeerAddress, method: str, sent: int, received: int) -> None:
        opened[method] += 1

    no_room = PeerAppLimits(sessions=SessionLimits(openings_max=0))
    async with peer(limits=no_room) as there, transport(on_bytes=count) as client:
        assert await refusal(client, there) == "auth.session_unknown"
    assert opened == {"session": 2, "push": 2}


async def test_another_secret_is_refused() -> None:
    calls: list[bytes] = []

    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        calls.append(body)
        return b""

    async with peer(handler) as there, transport(secret=b"the secret of another cluster") as client:
        assert await refusal(client, there) == "auth.failed"
    assert calls == []


# --------------------------------------------------------------------------------------------------------- refusals


async def test_a_handlers_refusal_arrives_with_its_code_and_detail() -> None:
    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        raise PeerRefused("member.unknown", f"{caller.node} is not registered")

    async with peer(handler) as there, transport() as client:
        with pytest.raises(PeerRefused, match=r"^member\.unknown: eu-1 is not registered$"):
            await client.call(there, "pull", b"", timeout_ms=TIMEOUT_MS)


async def test_a_handlers_bug_is_logged_once_and_tells_the_caller_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        raise KeyError("a private detail")

    async with peer(handler) as there, transport() as client:
        with pytest.raises(PeerRefused) as caught:
            await client.call(there, "pull", b"", timeout_ms=TIMEOUT_MS)
    assert caught.value.code == "internal"
    assert "private" not in str(caught.value)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info is not None
    assert "a private detail" in str(record.exc_info[1])


async def test_an_answer_over_the_frame_limit_is_a_bug_of_the_peer(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        return bytes(1025)

    async with peer(handler, limits=PeerAppLimits(frame_limit_bytes=1024)) as there, transport() as client:
        assert await refusal(client, there) == "internal"
    assert "frame limit" in caplog.text


async def test_requests_above_the_admission_bound_are_refused_and_later_ones_admitted() -> None:
    release, running = trio.Event(), trio.Semaphore(0)

    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        running.release()
        await release.wait()
        return b""

    async with peer(handler, limits=PeerAppLimits(requests_max=3)) as there, transport() as client:
        async with trio.open_nursery() as nursery:

            async def one() -> None:
                await client.call(there, "push", b"", timeout_ms=TIMEOUT_MS)

            for _ in range(3):
                nursery.start_soon(one)
            for _ in range(3):
                await running.acquire()
            assert await refusal(client, there) == "node.busy"
            assert await refusal(client, there, bytes(100_000)) == "node.busy"
            release.set()
        assert await client.call(there, "push", b"", timeout_ms=TIMEOUT_MS) == b""


async def test_a_handler_that_takes_too_long_is_given_up() -> None:
    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        await trio.sleep_forever()
        return b""

    async with peer(handler, limits=PeerAppLimits(handler_timeout_ms=20)) as there, transport() as client:
        assert await refusal(client, there) == "node.slow"


# ----------------------------------------------------------------------------------------------------- body limits


async def test_a_body_over_the_limit_is_not_even_sent() -> None:
    counted: list[int] = []
    async with transport(on_bytes=lambda *row: counted.append(1)) as client:
        assert await refusal(client, address(1), bytes(FRAME_LIMIT_BYTES + 1)) == "limit.frame"
    assert counted == []


async def test_a_body_over_the_peers_limit_is_refused_and_the_next_call_works() -> None:
    async with peer(limits=PeerAppLimits(frame_limit_bytes=1024)) as there, transport() as client:
        for size in (1025, 100_000, FRAME_LIMIT_BYTES):
            assert await refusal(client, there, bytes(size)) == "limit.frame"
        assert await client.call(there, "push", bytes(1024), timeout_ms=TIMEOUT_MS) == bytes(1024)


# ------------------------------------------------------------------------------------------------ misbehaving peers


async def test_nobody_listens() -> None:
    async with peer() as there:
        pass
    async with transport() as client:
        with pytest.raises(PeerUnreachable, match=there.url):
            await client.call(there, "push", b"", timeout_ms=TIMEOUT_MS)


@pytest.mark.parametrize(
    "url", ["", "eu-2:8101", "ftp://eu-2", "http://", "http://[::1", "http://host:99999"]
)
async def test_an_address_that_is_none_is_unreachable(url: str) -> None:
    async with transport() as client:
        with pytest.raises(PeerUnreachable):
            await client.call(PeerAddress("", "", url), "join", b"", timeout_ms=TIMEOUT_MS)


async def test_a_peer_that_never_answers_costs_the_timeout_and_no_connection_for_good() -> None:
    silent = True

    def sometimes(app: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if silent and scope["type"] == "http":
                await trio.sleep_forever()
            await app(scope, receive, send)

        return wrapped

    limits = PeerClientLimits(connections_per_peer_max=2)
    async with peer(around=sometimes) as there, transport(limits=limits) as client:
        async with trio.open_nursery() as nursery:

            async def one() -> None:
                with pytest.raises(PeerUnreachable, match="within 50 ms"):
                    await client.call(there, "push", b"", timeout_ms=50)

            for _ in range(7):
                nursery.start_soon(one)
        silent = False
        for _ in range(3):
            assert await client.call(there, "push", b"back", timeout_ms=TIMEOUT_MS) == b"back"


async def test_a_peer_that_hangs_does_not_slow_down_calls_to_another() -> None:
    async def hang(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with (
        raw_server(hang) as hanging,
        peer() as there,
        transport() as client,
        trio.open_nursery() as nursery,
    ):

        async def one() -> None:
            with pytest.raises(PeerUnreachable):
                await client.call(hanging, "push", b"", timeout_ms=500)

        for _ in range(100):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        assert await client.call(there, "push", b"quick", timeout_ms=400) == b"quick"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", PeerUnreachable),
        (b"HTTP/1.1 200", PeerUnreachable),
        (b"220 mail.example ESMTP\r\n\r\n", PeerNonsense),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\nshort", PeerNonsense),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\n" + bytes(48), PeerNonsense),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", PeerNonsense),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", PeerNonsense),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", PeerNonsense),
        (b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n", PeerNonsense),
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\n\r\nlogin", PeerNonsense),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found", PeerNonsense),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 100000\r\n\r\n", PeerNonsense),
    ],
)
async def test_an_answer_that_is_not_of_the_protocol(answer: bytes, error: type[Exception]) -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    async with raw_server(behave) as there, transport() as client:
        with pytest.raises(error):
            await client.call(there, "push", b"", timeout_ms=TIMEOUT_MS)


async def test_a_genuine_answer_over_our_frame_limit_is_not_read() -> None:
    received: list[int] = []

    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        return bytes(int(body))

    def count(to: PeerAddress, method: str, sent: int, received_bytes: int) -> None:
        received.append(received_bytes)

    limits = PeerClientLimits(frame_limit_bytes=1024)
    async with peer(handler) as there, transport(limits=limits, on_bytes=count) as client:
        with pytest.raises(PeerNonsense, match="1025 bytes, more than 1024"):
            await client.call(there, "pull", b"1025", timeout_ms=TIMEOUT_MS)
        assert await client.call(there, "pull", b"1024", timeout_ms=TIMEOUT_MS) == bytes(1024)
    assert received == [48, 0, 1024]


def _with_status(status: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda message: {**message, "status": status} if "status" in message else message


def _without_signature(message: dict[str, Any]) -> dict[str, Any]:
    kept = [pair for pair in message.get("headers", []) if pair[0] != b"vexil-peer-answer"]
    return {**message, "headers": kept} if "headers" in message else message


def _with_other_body(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "body": message["body"].upper()} if message.get("body") else message


@pytest.mark.parametrize(
    "change", [_with_status(201), _with_status(409), _without_signature, _with_other_body]
)
async def test_an_answer_altered_on_its_way_is_nonsense(
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    async with peer(around=lambda app: Tampering(app, change)) as there, transport() as client:
        with pytest.raises(PeerNonsense):
            await client.call(there, "push", b"body", timeout_ms=TIMEOUT_MS)


@pytest.mark.parametrize(("cut_after_bytes", "error"), [(0, PeerUnreachable), (300, PeerNonsense)])
async def test_an_answer_cut_off_on_its_way(cut_after_bytes: int, error: type[Exception]) -> None:
    async with peer() as behind:
        cutter = Cutter(behind)
        async with raw_server(cutter) as there, transport() as client:
            assert await client.call(there, "push", b"whole", timeout_ms=TIMEOUT_MS) == b"whole"
            cutter.cut_after_bytes = cut_after_bytes
            with pytest.raises(error):
                await client.call(there, "push", bytes(10_000), timeout_ms=TIMEOUT_MS)
            cutter.cut_after_bytes = None
            assert await client.call(there, "push", b"again", timeout_ms=TIMEOUT_MS) == b"again"


# ----------------------------------------------------------------------------------------------------------- bounds


async def test_links_to_peers_are_bounded_and_the_longest_unused_goes() -> None:
    limits = PeerClientLimits(links_max=2)
    async with peer() as one, peer() as two, peer() as three, transport(limits=limits) as client:
        for there in (one, two, one, three, two):
            assert await client.call(there, "push", b"x", timeout_ms=TIMEOUT_MS) == b"x"
            assert len(client._links) <= 2
        assert list(client._links) == [three.url, two.url]


async def test_a_cancelled_call_leaves_the_link_usable() -> None:
    slow = True

    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        if slow:
            await trio.sleep_forever()
        return await echo(caller, method, body)

    limits = PeerClientLimits(connections_per_peer_max=1)
    async with (
        peer(handler, limits=PeerAppLimits(handler_timeout_ms=300)) as there,
        transport(limits=limits) as client,
    ):
        for _ in range(3):
            with trio.move_on_after(0.05) as scope:
                await client.call(there, "push", b"", timeout_ms=TIMEOUT_MS)
            assert scope.cancelled_caught
        slow = False
        assert await client.call(there, "push", b"x", timeout_ms=TIMEOUT_MS) == b"x"


async def test_closing_the_transport_ends_calls_in_flight() -> None:
    async def hang(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        await trio.sleep_forever()
        return b""

    async with peer(hang) as there, transport() as client, trio.open_nursery() as nursery:

        async def one() -> None:
            with pytest.raises(PeerUnreachable, match=r"^(?!.*within)"):
                await client.call(there, "push", b"", timeout_ms=TIMEOUT_MS)

        nursery.start_soon(one)
        await trio.sleep(0.1)
        await client.aclose()
