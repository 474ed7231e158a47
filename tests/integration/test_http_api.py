"""The HTTP interface on a real socket: bodies that come late or never end, and requests below what clients send."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from tests.integration.peer_servers import served
from tests.unit.node.api.nodes import BOOLEAN, OWNER_KEY, Served, serving
from vexil.node.api.limits import MIB, ApiLimits

FLAGS = "/api/v1/projects/shop/flags"
KEY = f"Authorization: Bearer {OWNER_KEY}\r\n".encode()


@asynccontextmanager
async def on_a_port(limits: ApiLimits | None = None) -> AsyncIterator[tuple[Served, int]]:
    async with serving(limits=limits) as node, served(node.app) as port:
        yield node, port


async def said(port: int, *parts: bytes, pause_s: float = 0) -> bytes:
    """What the server says to ``parts``, until it closes or falls silent."""
    heard = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for part in parts:
            await stream.send_all(part)
            await trio.sleep(pause_s)
        with trio.move_on_after(2):
            while chunk := await stream.receive_some(65536):
                heard += chunk
                head, found, body = heard.partition(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if found and length and len(body) >= int(length[0].partition(b":")[2]):
                    break
    return heard


def head(method: str, path: str, *lines: bytes, key: bytes = KEY) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + key + b"".join(lines) + b"\r\n"


async def test_requests_are_answered_one_after_another_on_one_connection() -> None:
    async with on_a_port() as (_, port), httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{port}{FLAGS}"
        sent = {"Authorization": f"Bearer {OWNER_KEY}"}
        made = await client.post(url, json={"key": "a", **BOOLEAN}, headers=sent)
        assert made.status_code == 201
        assert made.headers["content-length"] == str(len(made.content))
        assert (await client.get(f"{url}/a", headers=sent)).json()["key"] == "a"
        assert (await client.head(f"{url}/a", headers=sent)).content == b""
        assert (await client.delete(f"{url}/a", headers=sent)).status_code == 200


async def test_who_sends_too_much_gets_to_read_why() -> None:
    async with on_a_port() as (node, port), httpx.AsyncClient(trust_env=False, timeout=20) as client:
        url = f"http://127.0.0.1:{port}{FLAGS}"
        sent = {"Authorization": f"Bearer {OWNER_KEY}"}

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b" " * (MIB // 4)

        for content in (b" " * (5 * MIB), endless()):
            answer = await client.post(url, content=content, headers=sent)
            assert answer.status_code == 413
            assert answer.json()["code"] == "limit.request_body_bytes"
        assert (await client.get(url, headers=sent)).status_code == 200
        assert node.engine.projects["shop"].flag_keys() == []


async def test_who_only_announces_too_much_is_told_at_once() -> None:
    async with on_a_port(ApiLimits(drain_timeout_s=0.1)) as (_, port):
        heard = await said(port, head("POST", FLAGS, f"Content-Length: {5 * MIB}\r\n".encode()))
        assert heard.startswith(b"HTTP/1.1 413 ")


async def test_an_import_may_be_larger() -> None:
    flag = {
        "state": "ENABLED",
        "variants": {"on": True},
        "defaultVariant": "on",
        "metadata": {"m": "x" * 2_000},
    }
    document = {"flags": {f"f{i}": flag for i in range(1_500)}}
    async with on_a_port() as (_, port), httpx.AsyncClient(trust_env=False, timeout=60) as client:
        body = json.dumps(document).encode()
        assert len(body) > 3 * MIB
        url = f"http://127.0.0.1:{port}/api/v1/projects/shop/import?environment=prod"
        done = await client.post(url, content=body, headers={"Authorization": f"Bearer {OWNER_KEY}"})
        assert (done.status_code, done.json()["created"]) == (200, 1_500)


async def test_a_stranger_is_answered_before_his_body_is_waited_for() -> None:
    async with on_a_port() as (_, port):
        for path in (FLAGS, "/api/v1/projects/shop/import?environment=prod"):
            begun = trio.current_time()
            heard = await said(port, head("POST", path, b"Content-Length: 100000\r\n", key=b""))
            assert heard.startswith(b"HTTP/1.1 401 ")
            assert trio.current_time() - begun < 1


async def test_a_body_that_never_comes_is_given_up() -> None:
    async with on_a_port(ApiLimits(body_timeout_s=0.3)) as (node, port):
        heard = await said(port, head("POST", FLAGS, b"Content-Length: 10\r\n"), b'{"ke')
        assert heard.startswith(b"HTTP/1.1 408 ")
        assert b"request.slow" in heard
        assert node.engine.projects["shop"].flag_keys() == []


async def test_a_body_in_pieces_is_one_body() -> None:
    body = json.dumps({"key": "a", **BOOLEAN}).encode()
    async with on_a_port() as (_, port):
        start = head("POST", FLAGS, f"Content-Length: {len(body)}\r\n".encode())
        heard = await said(port, start, body[:5], body[5:], pause_s=0.1)
        assert heard.startswith(b"HTTP/1.1 201 ")


async def test_a_caller_who_goes_away_leaves_nothing_behind() -> None:
    async with on_a_port(ApiLimits(requests_max=1)) as (node, port):
        for part in (b"", b"Content-Length: 10\r\n"):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(head("POST", FLAGS, part))
            await trio.sleep(0.2)
            await stream.aclose()
        await trio.sleep(0.3)
        assert (await node.owner.get(FLAGS)).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /% HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + FLAGS.encode() + b"?a=%ff HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n",
        b"GET " + FLAGS.encode() + b"?\xff HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n",
        b"GET " + FLAGS.encode() + b"?q=" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n",
        b"GET http://evil/" + FLAGS.encode() + b" HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + FLAGS.encode() + b" HTTP/1.1\r\nHost: \xff\xfe\r\n" + KEY + b"\r\n",
        b"GET " + FLAGS.encode() + b" HTTP/1.1\r\nHost: a b:x:99999999\r\n" + KEY + b"\r\n",
        b"GET " + FLAGS.encode() + b" HTTP/1.1\r\nHost:\r\n" + KEY + b"\r\n",
        b"GET " + FLAGS.encode() + b" HTTP/1.0\r\n" + KEY + b"\r\n",
        b"GET " + FLAGS.encode() + b" HTTP/1.1\r\nHost: x\r\nVexil-Token: \xff\r\n" + KEY + b"\r\n",
        b"GET " + FLAGS.encode() + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n",
        b"GET " + FLAGS.encode() + b" HTTP/1.1\r\nHost: x\r\nCookie: \xff=\xff\r\n" + KEY + b"\r\n",
        b"POST " + FLAGS.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n" + KEY + b"\r\n",
        b"POST "
        + FLAGS.encode()
        + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r\n"
        + KEY
        + b"\r\n",
        b"POST /ofrep/v1/evaluate/flags/../x HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n",
        b"POST /ofrep/v1/evaluate/flags/a%00b HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n",
    ],
)
async def test_odd_requests_are_refused_and_harm_nobody(request_bytes: bytes) -> None:
    async with on_a_port() as (node, port):
        heard = await said(port, request_bytes)
        assert not heard or heard.split(b" ")[1][:1] in b"24", heard
        assert (await node.owner.get(FLAGS)).status == 200
