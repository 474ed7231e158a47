"""The HTTP server around an app: ports, shutdown, bounds, and that one bad connection harms no other."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
import trio

from tests.integration.peer_servers import served
from vexil.node.adapters.serving import CannotListen, PortInUse, ServingLimits, serve


async def hello(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
    await receive()
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})
    else:
        await trio.sleep_forever()


async def get(port: int) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://127.0.0.1:{port}/")).text


async def test_the_real_port_is_reported_and_free_again_after_shutdown() -> None:
    async with served(hello) as port:
        assert port != 0
        assert await get(port) == "hello"
    async with served(hello, port=port) as again:
        assert again == port
        assert await get(port) == "hello"


async def test_a_port_in_use_is_named() -> None:
    async with served(hello) as port:
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port} is in use"):
            await serve(hello, host="127.0.0.1", port=port, shutdown=trio.Event())


async def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1:8100"):
        await serve(hello, host="192.0.2.1", port=8100, shutdown=trio.Event())


async def test_localhost_is_served_under_one_port() -> None:
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[int]) -> None:
            await serve(hello, host="localhost", port=0, shutdown=shutdown, task_status=task_status)

        port = await nursery.start(run)
        assert await get(port) == "hello"
        shutdown.set()


async def test_a_connection_that_breaks_the_http_server_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: bKdPyn3u98cTfZJSh4TNeQ==\r\n"
        b"sec-websocket-protocol: \xff\r\n\r\n"
    )
    async with served(hello) as port, httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{port}/"
        assert (await client.get(url)).text == "hello"
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(upgrade)
            with trio.fail_after(5):
                assert await stream.receive_some() == b""
        assert (await client.get(url)).text == "hello"
    assert "failed inside the HTTP server" in caplog.text


async def test_shutdown_lets_a_request_in_flight_finish() -> None:
    reached, release, shutdown = trio.Event(), trio.Event(), trio.Event()

    async def slow(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            reached.set()
            await release.wait()
        await hello(scope, receive, send)

    answers: list[str] = []

    async def ask(port: int) -> None:
        answers.append(await get(port))

    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[int]) -> None:
            await serve(slow, host="127.0.0.1", port=0, shutdown=shutdown, task_status=task_status)

        port = await nursery.start(run)
        nursery.start_soon(ask, port)
        await reached.wait()
        shutdown.set()
        await trio.sleep(0.05)
        with pytest.raises(OSError, match=r"refused|all attempts"):
            await trio.open_tcp_stream("127.0.0.1", port)
        release.set()
    assert answers == ["hello"]


async def test_shutdown_does_not_wait_for_ever() -> None:
    reached = trio.Event()

    async def endless(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            reached.set()
            await trio.sleep_forever()
        await hello(scope, receive, send)

    async def ask(port: int) -> None:
        with pytest.raises(httpx.TransportError):
            await get(port)

    with trio.fail_after(5):
        async with (
            trio.open_nursery() as nursery,
            served(endless, limits=ServingLimits(shutdown_ms=50)) as port,
        ):
            nursery.start_soon(ask, port)
            await reached.wait()


async def test_connections_above_the_bound_wait_for_a_place() -> None:
    async with (
        served(hello, limits=ServingLimits(connections_max=2)) as port,
        await trio.open_tcp_stream("127.0.0.1", port) as first,
        await trio.open_tcp_stream("127.0.0.1", port),
    ):
        await trio.sleep(0.05)
        with trio.move_on_after(0.2) as scope:
            await get(port)
        assert scope.cancelled_caught
        await first.aclose()
        with trio.fail_after(5):
            assert await get(port) == "hello"


async def test_an_idle_connection_is_closed() -> None:
    async with (
        served(hello, limits=ServingLimits(keep_alive_ms=50)) as port,
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        await stream.send_all(b"GET / HTTP/1.1\r\nho")
        with trio.fail_after(5):
            assert await stream.receive_some() == b""


async def test_requests_are_not_logged_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="hypercorn")
    async with served(hello) as port:
        await get(port)
    assert [record for record in caplog.records if record.name.startswith("hypercorn")] == []


async def test_a_failed_start_leaves_the_port_free() -> None:
    async def broken(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no disk"})

    async with served(hello) as port:
        pass
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - hypercorn's own type, in a group
        await serve(broken, host="127.0.0.1", port=port, shutdown=trio.Event())
    assert "no disk" in repr(caught.value)
    async with served(hello, port=port):
        assert await get(port) == "hello"
