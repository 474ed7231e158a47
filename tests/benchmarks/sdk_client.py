"""A client beside a node in a process of its own: how soon it can be asked, and how soon it knows of a write.

Starts are with 10,000 flags: from the node, and from the disk with every node dead. An update is timed from the moment
at which the write is sent to the node until the client's callback runs; the client and the writer are one process.
"""

from __future__ import annotations

import queue
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx
import trio

from tests.benchmarks.cluster_process import cluster
from tests.benchmarks.http_writes import Connection
from vexil.sdk import Client, Options

FLAGS: Final = 10_000
CONNECTIONS: Final = 64
STARTS: Final = 7
UPDATES: Final = 200
PAUSE_S: Final = 0.02
"""Between two updates; the client is not to find two of them in one event."""
READY_S: Final = 60.0
UPDATE_S: Final = 10.0
KEY: Final = "bench-0"
OPTIONS: Final = Options(proxy_from_environment=False, snapshot_every_s=0.05)
DEAD: Final = "http://127.0.0.1:9"
API: Final = "/api/v1/projects/demo/flags"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, cluster(regions="eu", nodes=1) as config:
        url, keys = config["nodes"][0]["url"], config["keys"]
        trio.run(_fill, url, keys["admin"])
        cache = Path(folder) / "flags"
        starts_s = [_start_s(url, keys["server"], cache) for _ in range(STARTS)]
        print(f"{FLAGS:,} flags, first answer after   {median(starts_s):8.3f} s    from the node")
        starts_s = [_start_s(DEAD, keys["server"], cache) for _ in range(STARTS)]
        print(f"{'':32}{median(starts_s):8.3f} s    from the disk, every node dead")
        _print_updates(url, keys)


async def _fill(url: str, admin: str) -> None:
    """Make the flags."""
    host = httpx.URL(url)

    async def some(first: int) -> None:
        connection = Connection(await trio.open_tcp_stream(host.host, host.port or 80), host.netloc.decode())
        for number in range(first, FLAGS, CONNECTIONS):
            await connection.request("POST", API, admin, _flag(number))

    async with trio.open_nursery() as nursery:
        for first in range(CONNECTIONS):
            nursery.start_soon(some, first)


def _flag(number: int) -> dict[str, Any]:
    rule = {"id": "r1", "if": {"ends_with": [{"var": "email"}, f"@{number}.example.com"]}, "serve": "on"}
    return {
        "key": f"bench-{number}",
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "environments": {"prod": {"enabled": True, "default": "off", "rules": [rule]}},
    }


def _start_s(url: str, key: str, cache: Path) -> float:
    """Seconds from making a client to its first answer that is no default."""
    from_node = url != DEAD
    if from_node:
        cache.unlink(missing_ok=True)
    context = {"targetingKey": "ann", "email": f"ann@{FLAGS - 1}.example.com"}
    started = time.perf_counter()
    with Client(url, key, cache_file=cache, options=OPTIONS) as client:
        if not client.wait_ready(READY_S) or not client.boolean(f"bench-{FLAGS - 1}", False, context):
            raise RuntimeError(f"the client has no flags: {client.status}")
        seconds = time.perf_counter() - started
        if client.status.source != ("node" if from_node else "disk"):
            raise RuntimeError(f"not from where it should be: {client.status}")
        ends = time.monotonic() + READY_S
        while not cache.exists() and time.monotonic() < ends:
            time.sleep(0.01)
    return seconds


def _print_updates(url: str, keys: dict[str, str]) -> None:
    told: queue.SimpleQueue[float] = queue.SimpleQueue()
    headers = {"Authorization": f"Bearer {keys['admin']}"}
    from_sent_ms, from_answer_ms = [], []
    with (
        httpx.Client(base_url=url, headers=headers, trust_env=False) as writer,
        Client(url, keys["server"], options=OPTIONS) as client,
    ):
        if not client.wait_ready(READY_S):
            raise RuntimeError(f"the client is not ready: {client.status}")
        client.on_change(lambda keys: told.put(time.perf_counter()) if KEY in keys else None)
        for number in range(
            1, UPDATES + 1
        ):  # the flag is off at first, so that each of them changes something
            change = {"environments": {"prod": {"default": "on" if number % 2 else "off"}}}
            sent = time.perf_counter()
            writer.patch(f"{API}/{KEY}", json=change).raise_for_status()
            answered = time.perf_counter()
            knows = told.get(timeout=UPDATE_S)
            from_sent_ms.append((knows - sent) * 1000)
            from_answer_ms.append((knows - answered) * 1000)
            time.sleep(PAUSE_S)
        wanted = UPDATES % 2 == 1
        if client.boolean(KEY, not wanted) is not wanted:
            raise RuntimeError("the client has another value than what was written last")
    for label, delays_ms in (("sent", from_sent_ms), ("acknowledged", from_answer_ms)):
        delays_ms.sort()
        p50, p99 = delays_ms[len(delays_ms) // 2], delays_ms[len(delays_ms) * 99 // 100]
        print(f"callback, write {label + ' before':24} p50 {p50:8.1f} ms   p99 {p99:8.1f} ms")


if __name__ == "__main__":
    main()
