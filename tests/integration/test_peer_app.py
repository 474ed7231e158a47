"""The peer port as a stranger, or a caller that does not keep to our own client's habits, meets it."""

from __future__ import annotations

from typing import Any

import httpx
import msgpack
import pytest
import trio
import trio.testing

from tests.integration.peer_servers import CALLER, SECRET, peer, transport
from vexil.node.adapters.peer_app import PeerAppLimits, create_peer_app
from vexil.node.adapters.peer_auth import OPEN_HEADER, REQUEST_HEADER, PeerKeys, PeerSession, SessionOpening
from vexil.node.adapters.system import SystemEntropy
from vexil.node.seams import PeerIdentity

TIMEOUT_MS = 5_000


async def open_session(client: httpx.AsyncClient) -> PeerSession:
    opening = SessionOpening(PeerKeys(SECRET), CALLER, SystemEntropy())
    answer = await client.post("/peer/v1/session", headers={OPEN_HEADER: opening.header})
    assert answer.status_code == 200
    return opening.finish(answer.content)


def request_head(signature: str, length: str) -> bytes:
    return f"POST /peer/v1/push HTTP/1.1\r\nhost: x\r\n{length}\r\n{REQUEST_HEADER}: {signature}\r\n\r\n".encode()


async def rest_of(stream: trio.SocketStream) -> bytes:
    received = b""
    with trio.fail_after(5):
        while data := await stream.receive_some():
            received += data
    return received


@pytest.mark.parametrize("chunk_bytes", [10, 5_000])
async def test_a_body_without_a_length_is_cut_off_at_the_limit_while_it_is_read(chunk_bytes: int) -> None:
    sent_bytes = 0
    limits = PeerAppLimits(frame_limit_bytes=10_000)
    async with peer(limits=limits) as there, httpx.AsyncClient(base_url=there.url, trust_env=False) as client:
        signed = (await open_session(client)).sign("POST", "/peer/v1/push", b"")
        chunk = b"%x\r\n%b\r\n" % (chunk_bytes, bytes(chunk_bytes))
        async with await trio.open_tcp_stream("127.0.0.1", int(there.url.rpartition(":")[2])) as stream:
            await stream.send_all(request_head(signed.header, "transfer-encoding: chunked"))
            with trio.fail_after(5):
                try:
                    while True:
                        await stream.send_all(chunk * 100)
                        sent_bytes += 100 * chunk_bytes
                except trio.BrokenResourceError:
                    assert sent_bytes < 50_000_000


async def test_a_body_that_says_it_is_over_the_limit_is_refused_before_it_is_sent() -> None:
    limits = PeerAppLimits(frame_limit_bytes=10_000)
    async with peer(limits=limits) as there, httpx.AsyncClient(base_url=there.url, trust_env=False) as client:
        signed = (await open_session(client)).sign("POST", "/peer/v1/push", bytes(10_001))
        async with await trio.open_tcp_stream("127.0.0.1", int(there.url.rpartition(":")[2])) as stream:
            await stream.send_all(request_head(signed.header, "content-length: 10001"))
            with trio.fail_after(5):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 413 ")


async def test_a_refusal_ends_though_the_servers_queue_of_body_parts_is_full(autojump_clock: Any) -> None:
    # The server beneath puts the end of the exchange into the queue that body parts wait in, and waits for room.
    put, get = trio.open_memory_channel[dict[str, Any]](1)
    sent: list[dict[str, Any]] = []

    async def feed() -> None:
        while True:
            await put.send({"type": "http.request", "body": b"x", "more_body": True})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await put.send({"type": "http.disconnect"})

    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        return b""

    app = create_peer_app(handler, SECRET, SystemEntropy())
    scope = {"type": "http", "method": "POST", "path": "/peer/v1/push", "headers": []}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(1):
            await app(scope, get.receive, send)
        nursery.cancel_scope.cancel()
    assert sent[0]["status"] == 401


async def test_a_body_without_a_length_within_the_limit_is_taken() -> None:
    async def parts() -> Any:
        for part in (b"one ", b"two ", b"three"):
            yield part

    async with peer() as there, httpx.AsyncClient(base_url=there.url, trust_env=False) as client:
        session = await open_session(client)
        signed = session.sign("POST", "/peer/v1/push", b"one two three")
        answer = await client.post("/peer/v1/push", headers={REQUEST_HEADER: signed.header}, content=parts())
        assert (answer.status_code, answer.content) == (200, b"one two three")
        assert answer.headers["content-type"] == "application/msgpack"


async def test_a_body_other_than_the_signed_one_never_reaches_the_handler() -> None:
    calls: list[bytes] = []

    async def handler(caller: PeerIdentity, method: str, body: bytes) -> bytes:
        calls.append(body)
        return b""

    async with peer(handler) as there, httpx.AsyncClient(base_url=there.url, trust_env=False) as client:
        session = await open_session(client)
        signed = session.sign("POST", "/peer/v1/push", b"signed")
        answer = await client.post("/peer/v1/push", headers={REQUEST_HEADER: signed.header}, content=b"sent")
        assert answer.status_code == 401
        assert msgpack.unpackb(answer.content)["code"] == "auth.failed"
        again = await client.post("/peer/v1/push", headers={REQUEST_HEADER: signed.header}, content=b"signed")
        assert msgpack.unpackb(again.content)["code"] == "auth.replayed"
    assert calls == []


async def test_a_body_that_does_not_come_gives_its_place_back() -> None:
    limits = PeerAppLimits(requests_max=1, body_timeout_ms=50, drain_timeout_ms=50)
    async with peer(limits=limits) as there, httpx.AsyncClient(base_url=there.url, trust_env=False) as client:
        session = await open_session(client)
        signed = session.sign("POST", "/peer/v1/push", b"12345")
        port = int(there.url.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request_head(signed.header, "content-length: 5") + b"1")
            received = await rest_of(stream)
            assert b" 408 " in received
            assert b"request.slow" in received
        async with transport() as other:
            await other.call(there, "push", b"", timeout_ms=TIMEOUT_MS)


# -------------------------------------------------------------------------------------------------------- strangers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/peer/v1/push", 401, "auth.failed"),
        ("POST", "/peer/v1/session", 401, "auth.failed"),
        ("POST", "/peer/v1/evict", 404, "path.unknown"),
        ("GET", "/", 404, "path.unknown"),
        ("GET", "/peer/v1/push", 405, "path.unknown"),
    ],
)
@pytest.mark.parametrize("size", [0, 1_000_000])
async def test_a_stranger_is_turned_away_without_a_signature(
    method: str, path: str, status: int, code: str, size: int
) -> None:
    async with peer() as there, httpx.AsyncClient(base_url=there.url, trust_env=False) as client:
        answer = await client.request(method, path, content=bytes(size))
        assert answer.status_code == status
        assert msgpack.unpackb(answer.content)["code"] == code
        assert "vexil-peer-answer" not in answer.headers


@pytest.mark.parametrize("drains_max", [0, 2])
async def test_strangers_that_send_without_end_leave_no_connection_behind(drains_max: int) -> None:
    async def flood(port: int) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(
                b"POST /peer/v1/push HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000000\r\n\r\n"
            )
            try:
                while True:
                    await stream.send_all(bytes(100_000))
            except trio.BrokenResourceError:
                return

    limits = PeerAppLimits(drains_max=drains_max, drain_timeout_ms=100)
    async with peer(limits=limits) as there:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(flood, int(there.url.rpartition(":")[2]))


async def test_only_so_many_refused_bodies_are_read_on() -> None:
    head = b"POST /peer/v1/push HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
    async with peer(limits=PeerAppLimits(drains_max=1, drain_timeout_ms=1_000)) as there:
        port = int(there.url.rpartition(":")[2])
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as first,
            await trio.open_tcp_stream("127.0.0.1", port) as second,
        ):
            with trio.fail_after(0.5):
                await first.send_all(head)
                assert b"connection: close" not in await first.receive_some()
                await second.send_all(head)
                assert b"connection: close" in await rest_of(second)
