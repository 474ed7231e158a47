"""Streams on a real socket: readers who stop, callers who go, nodes that stop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import h11
import httpx
import trio
import trio.testing

from tests.integration.peer_servers import served
from tests.unit.node.api.nodes import BOOLEAN, Client, Served, serving
from vexil.node.adapters.serving import ServingLimits
from vexil.node.api.limits import ApiLimits

STREAM = "/sdk/v1/stream"
EVALUATE = "/ofrep/v1/evaluate/flags"
PATIENCE_S = 10
LARGE = {"type": "string", "variants": {"v": "x" * 60_000}}


@asynccontextmanager
async def on_a_port(
    limits: ApiLimits | None = None, serving_limits: ServingLimits | None = None
) -> AsyncIterator[tuple[Served, str, int]]:
    async with serving(limits=limits) as node, served(node.app, limits=serving_limits) as port:
        yield node, f"http://127.0.0.1:{port}", port


class Told:
    """The events of one stream, as they come over a connection of its own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._text = ""

    async def open(self, path: str, headers: Mapping[str, str]) -> None:
        """Ask for a stream, which must be given."""
        request = h11.Request(method="GET", target=path, headers=[("Host", "x"), *headers.items()])
        await self._stream.send_all(self._http.send(request) + self._http.send(h11.EndOfMessage()))
        answer = await self._received()
        assert isinstance(answer, h11.Response)
        assert answer.status_code == 200
        assert (b"content-type", b"text/event-stream") in answer.headers

    async def next(self) -> tuple[str, Any, str] | None:
        """Name, data and id of the next event; None at the end of the stream."""
        with trio.fail_after(PATIENCE_S):
            while True:
                while "\n\n" not in self._text:
                    received = await self._received()
                    if not isinstance(received, h11.Data):
                        return None
                    self._text += bytes(received.data).decode()
                event, _, self._text = self._text.partition("\n\n")
                fields = dict(line.split(": ", 1) for line in event.splitlines() if line[0] != ":")
                if "event" in fields:
                    return fields["event"], json.loads(fields["data"]), fields.get("id", "")

    async def event(self) -> tuple[str, Any, str]:
        """The next event that is not a status."""
        while True:
            found = await self.next()
            assert found is not None, "the stream is over"
            if found[0] != "status":
                return found

    async def last(self) -> tuple[str, Any, str] | None:
        """The last event of a stream that ends."""
        last = None
        while (found := await self.next()) is not None:
            last = found
        return last

    async def _received(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.receive_some(65536))
        return event


@asynccontextmanager
async def listening(port: int, path: str, **headers: str) -> AsyncIterator[Told]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        told = Told(stream)
        await told.open(path, headers)
        yield told


async def until(node: Served, kind: str, count: int) -> None:
    """Wait until so many streams of ``kind`` are open."""
    with trio.fail_after(PATIENCE_S):
        while node.engine.feeds.open.get(kind, 0) != count:  # noqa: ASYNC110 - nothing tells when one has gone
            await trio.sleep(0.01)


def key_of(client: Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.key}"}


async def test_a_stream_is_followed_and_resumed_over_http() -> None:
    async with on_a_port() as (node, _, port):
        await node.flag("a")
        key = key_of(node.server)
        async with listening(port, STREAM, **key) as told:
            name, put, token = await told.event()
            assert (name, list(put["flags"])) == ("put", ["a"])
        await until(node, "sdk", 0)
        await node.flag("b")
        async with listening(port, STREAM, **key, **{"Last-Event-ID": token}) as told:
            name, patch, _ = await told.event()
            assert (name, patch["from"], list(patch["set"])) == ("patch", put["version"], ["b"])
            await node.owner.delete("/api/v1/projects/shop/flags/a")
            name, patch, _ = await told.event()
            assert (name, patch["delete"]) == ("patch", ["a"])


async def test_a_large_set_is_one_answer_of_known_length() -> None:
    async with (
        on_a_port() as (node, url, _),
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client,
    ):
        for number in range(10):
            await node.flag(f"f{number}", **LARGE)
        answer = await client.get(f"{url}/sdk/v1/flags", headers=key_of(node.server))
        assert int(answer.headers["content-length"]) == len(answer.content) > 600_000
        assert len(answer.json()["flags"]) == 10
        head = await client.head(f"{url}/sdk/v1/flags", headers=key_of(node.server))
        assert (head.status_code, head.content) == (200, b"")


async def test_a_reader_who_stops_is_cut_off_and_nobody_waits_for_him() -> None:
    limits = ServingLimits(stall_ms=300, shutdown_ms=200)
    async with on_a_port(serving_limits=limits) as (node, _, port):
        for number in range(100):
            await node.flag(f"f{number}", **LARGE)
        async with listening(port, STREAM, **key_of(node.server)):
            # Nothing is read of this one from here on.
            async with listening(port, STREAM, **key_of(node.server)) as told:
                assert (await told.event())[0] == "put"
                await until(node, "sdk", 1)
                await node.flag("one-more", **BOOLEAN)
                assert (await told.event())[0] == "patch"
            await until(node, "sdk", 0)


async def test_a_reader_who_stops_does_not_hold_up_a_node_that_stops() -> None:
    async with on_a_port(serving_limits=ServingLimits(stall_ms=15_000, shutdown_ms=200)) as (node, _, port):
        for number in range(100):
            await node.flag(f"f{number}", **LARGE)
        idle = await trio.open_tcp_stream("127.0.0.1", port)
        await Told(idle).open(STREAM, key_of(node.server))
        await until(node, "sdk", 1)
        # The node has filled what is between the two, and waits.
        await trio.testing.wait_all_tasks_blocked(0.2)
        node.engine.feeds.close()
        begun = trio.current_time()
    assert trio.current_time() - begun < PATIENCE_S
    await idle.aclose()


async def test_a_revoked_key_ends_its_stream_over_http() -> None:
    async with on_a_port() as (node, url, port), httpx.AsyncClient(trust_env=False) as client:
        async with listening(port, STREAM, **key_of(node.server)) as told:
            await told.event()
            await node.owner.delete(f"/api/v1/keys/{str(node.server.key).split('_')[1]}")
            assert await told.last() == ("end", {"reason": "key.invalid"}, "")
        assert (await client.get(url + STREAM, headers=key_of(node.server))).status_code == 401


async def test_a_ticket_opens_a_stream_for_a_browser() -> None:
    async with on_a_port() as (node, url, port), httpx.AsyncClient(trust_env=False) as client:
        await node.flag("a", client_visible=True, environments={"prod": {"enabled": True, "default": "on"}})
        bulk = (await client.post(url + EVALUATE, json={}, headers=key_of(node.client))).json()
        (stream,) = bulk["eventStreams"]
        async with listening(port, stream["endpoint"]["requestUri"]) as told:
            await told.event()
            await node.owner.post("/api/v1/projects/shop/flags/a/environments/prod/kill")
            name, data, id_ = await told.event()
            assert (name, data["type"], data["etag"]) == ("message", "refetchEvaluation", id_)


async def test_a_node_that_stops_says_so_to_its_streams() -> None:
    async with on_a_port() as (node, _, port), listening(port, STREAM, **key_of(node.server)) as told:
        await told.event()
        node.engine.feeds.close()
        assert await told.last() == ("end", {"reason": "shutdown"}, "")


async def test_a_caller_who_goes_away_leaves_no_stream_behind() -> None:
    async with on_a_port() as (node, _, port):
        async with listening(port, STREAM, **key_of(node.server)) as told:
            await told.event()
            await until(node, "sdk", 1)
        await until(node, "sdk", 0)
