"""Acknowledged writes through HTTP: one node in a process of its own, 64 connections.

Bound of the design: 800/s. The client shares the machine's two cores with the node.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import trio

from tests.benchmarks.cluster_process import cluster, cpu_seconds

CONNECTIONS = 64
FLAGS = 200
WRITES = 4_000
READS = 4_000


class Connection:
    """One keep-alive HTTP/1.1 connection that costs the client next to nothing: the node is what is measured."""

    def __init__(self, stream: trio.SocketStream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._buffer = b""

    async def request(self, method: str, path: str, key: str, body: dict[str, Any]) -> None:
        """Send and wait for the whole answer. Raises RuntimeError unless it is a success."""
        encoded = json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n"
        )
        await self._stream.send_all(head.encode() + encoded)
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += await self._received()
        headers, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = int(headers.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(rest) < length:
            rest += await self._received()
        self._buffer = rest[length:]
        if not headers.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{headers.decode()} {rest.decode()}")

    async def _received(self) -> bytes:
        chunk = await self._stream.receive_some()
        if not chunk:
            raise RuntimeError("the node closed the connection")
        return bytes(chunk)


Work = Callable[[Connection, int], Awaitable[None]]


async def _run(config: dict[str, Any]) -> None:
    url = urlsplit(config["nodes"][0]["url"])
    admin, server = config["keys"]["admin"], config["keys"]["server"]

    async def create(connection: Connection, i: int) -> None:
        body = {
            "key": f"bench-{i}",
            "type": "boolean",
            "variants": {"on": True, "off": False},
            "environments": {"prod": {"enabled": True, "default": "on"}},
        }
        await connection.request("POST", "/api/v1/projects/demo/flags", admin, body)

    async def patch(connection: Connection, i: int) -> None:
        body = {
            "environments": {"prod": {"default": "off" if i // FLAGS & 1 else "on", "enabled": bool(i & 1)}}
        }
        await connection.request("PATCH", f"/api/v1/projects/demo/flags/bench-{i % FLAGS}", admin, body)

    async def evaluate(connection: Connection, i: int) -> None:
        body = {"context": {"targetingKey": f"user-{i}"}}
        await connection.request("POST", f"/ofrep/v1/evaluate/flags/bench-{i % FLAGS}", server, body)

    connections = [
        Connection(await trio.open_tcp_stream(url.hostname or "", url.port or 0), url.netloc)
        for _ in range(CONNECTIONS)
    ]
    await _spread(connections, create, FLAGS)
    for label, work, count, bound in (
        ("flag patches", patch, WRITES, "   (bound 800)"),
        ("OFREP evaluations", evaluate, READS, ""),
    ):
        cpu_s, started = cpu_seconds(config["nodes"][0]["pid"]), time.perf_counter()
        await _spread(connections, work, count)
        rate = count / (time.perf_counter() - started)
        each_ms = (cpu_seconds(config["nodes"][0]["pid"]) - cpu_s) / count * 1000
        print(
            f"{label:18} {CONNECTIONS} connections {rate:8,.0f} /s{bound}, {each_ms:.2f} ms of the node's CPU each"
        )


async def _spread(connections: list[Connection], work: Work, count: int) -> None:
    async def one(first: int) -> None:
        for i in range(first, count, len(connections)):
            await work(connections[first], i)

    async with trio.open_nursery() as nursery:
        for first in range(len(connections)):
            nursery.start_soon(one, first)


def main() -> None:
    """Print requests per second."""
    with cluster(regions="eu", nodes=1) as config:
        trio.run(_run, config)


if __name__ == "__main__":
    main()
