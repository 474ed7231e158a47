"""Nodes in memory, a disk in memory, and a client's core among them, on virtual time.

A node says by its counter how far it is; its token is that counter under one incarnation, so that "older" and
"behind" mean here what they mean to real tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
import trio.testing

from tests.unit.sdk.documents import flag
from vexil.node.api import tokens
from vexil.sdk import FlagSet
from vexil.sdk.client.catching_up import Ticket
from vexil.sdk.client.core import Core, Plan, World
from vexil.sdk.client.options import Options
from vexil.sdk.client.seams import Answer, AnswerTooLarge, BrokenAnswer, Unreachable
from vexil.sdk.client.state import Held, Publication
from vexil.sdk.client.status import Status

KEY = "vxs_test"
HEARTBEAT_S = 15.0
INCARNATION = 7
AS_OF = "2026-11-21T09:00:00.000Z"


def token(seq: int, incarnation: int = INCARNATION) -> str:
    return tokens.encode("shop", {incarnation: seq})


def on(value: bool = True) -> Any:
    """A flag that gives ``value``."""
    return flag(default="on" if value else "off")


def event(kind: str, data: object, id_: str | None = None) -> bytes:
    head = f"event: {kind}\n" + (f"id: {id_}\n" if id_ else "")
    return f"{head}data: {json.dumps(data)}\n\n".encode()


@dataclass(eq=False)
class Node:
    """One node; what a test sets on it is what it does."""

    name: str = "eu-1"
    seq: int = 1
    flags: dict[str, Any] = field(default_factory=lambda: {"a": on()})
    segments: dict[str, Any] = field(default_factory=dict)
    refuses: bool = False
    """Connections."""
    mute: bool = False
    """It takes a request and never answers."""
    silent: bool = False
    """It sends no heartbeats, and no events."""
    stream_answer: tuple[int, dict[str, str], bytes] | None = None
    flags_answer: tuple[int, dict[str, str], bytes] | None = None
    flags_for: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """As ``flags_answer``, for whoever asks with that token."""
    stale: list[str] = field(default_factory=list)
    says_put_first: bool = True
    polls: list[tuple[float, Mapping[str, str]]] = field(default_factory=list)
    opened: list[tuple[float, Mapping[str, str]]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)

    @property
    def version(self) -> str:
        return f"v{self.seq}"

    @property
    def document(self) -> dict[str, Any]:
        parts = {"flags": self.flags, "segments": self.segments, "evaluators": {}, "metadata": {}}
        return {"version": self.version, "bucketing": "v3", **parts}

    @property
    def tries(self) -> int:
        return len(self.polls) + len(self.opened)

    def behind(self, asked: str | None) -> bool:
        return asked is not None and tokens.decode(asked, "shop").get(INCARNATION, 0) > self.seq

    def change(self, key: str, document: Any) -> None:
        """A flag changes: every stream gets a patch."""
        before, self.seq = self.version, self.seq + 1
        self.flags = {**self.flags, key: document}
        data = {"from": before, "version": self.version, "set": {key: document}, "delete": []}
        self.send(event("patch", data, token(self.seq)))

    def send(self, data: bytes) -> None:
        for stream in self.streams:
            stream.send(data)

    def status(self) -> bytes:
        region = self.name.split("-")[0]
        data = {"as_of": {region: AS_OF}, "stale": self.stale, "node": self.name, "region": region}
        return event("status", data)

    def end_streams(self) -> None:
        for stream in self.streams:
            stream.end()
        self.streams.clear()

    def die(self) -> None:
        self.refuses = True
        for stream in self.streams:
            stream.broken = True
        self.end_streams()


class Stream:
    """One open stream of a node."""

    def __init__(self, node: Node, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.broken = False
        self._node = node
        self._send, self._receive = trio.open_memory_channel[bytes](1000)

    def send(self, data: bytes) -> None:
        self._send.send_nowait(data)

    def end(self) -> None:
        self._send.close()

    async def receive(self) -> bytes:
        while True:
            with trio.move_on_after(HEARTBEAT_S):
                try:
                    return await self._receive.receive()
                except trio.EndOfChannel:
                    if self.broken:
                        raise BrokenAnswer("the connection broke") from None
                    return b""
            if not self._node.silent:
                return b": heartbeat\n\n" + self._node.status()


class Network:
    """The Transport to a set of nodes."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True

    async def get(self, url: str, headers: Mapping[str, str], *, bytes_max: int, timeout_s: float) -> Answer:
        node = self._node(url, "/sdk/v1/flags")
        node.polls.append((trio.current_time(), headers))
        await self._reach(node, timeout_s)
        assert headers["Authorization"] == f"Bearer {KEY}"
        set_answer = node.flags_for.get(headers.get("Vexil-Token", ""), node.flags_answer)
        if set_answer is not None:
            status, said, body = set_answer
        else:
            asked, version = headers.get("Vexil-Token"), headers.get("If-None-Match")
            if node.behind(asked) and "Vexil-Wait-Ms" in headers:
                with trio.move_on_after(int(headers["Vexil-Wait-Ms"]) / 1000):
                    while node.behind(asked):  # noqa: ASYNC110 - a test sets it; time is virtual
                        await trio.sleep(0.01)
            said = {"vexil-token": token(node.seq), "vexil-as-of": f"eu={AS_OF}, ap=never"}
            if node.behind(asked):
                said["vexil-behind"] = "true"
                said["vexil-token"] = str(asked)
            unchanged = version == f'"{node.version}"'
            status, body = (304, b"") if unchanged else (200, json.dumps(node.document).encode())
        if len(body) > bytes_max:
            raise AnswerTooLarge("too large")
        return Answer(status, said, body)

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], *, timeout_s: float
    ) -> AsyncIterator[Stream]:
        node = self._node(url, "/sdk/v1/stream")
        node.opened.append((trio.current_time(), headers))
        await self._reach(node, timeout_s)
        asked, version = headers.get("Last-Event-ID"), headers.get("If-None-Match")
        assert asked == headers.get("Vexil-Token")
        status, said, body = node.stream_answer or (200, {"content-type": "text/event-stream"}, b"")
        if node.behind(asked):
            said = {**said, "vexil-behind": "true"}
        stream = Stream(node, status, said)
        if node.stream_answer is not None:
            stream.send(body)
            stream.end()
        else:
            node.streams.append(stream)
            if not node.silent:
                if version != f'"{node.version}"' and node.says_put_first:
                    stream.send(event("put", node.document, token(node.seq)))
                stream.send(node.status())
        try:
            yield stream
        finally:
            if stream in node.streams:
                node.streams.remove(stream)

    def _node(self, url: str, path: str) -> Node:
        assert url.endswith(path), url
        return self.nodes[url.removesuffix(path)]

    async def _reach(self, node: Node, timeout_s: float) -> None:
        await trio.lowlevel.checkpoint()
        if node.refuses:
            raise Unreachable("no connection: refused")
        if node.mute:
            await trio.sleep(timeout_s)
            raise Unreachable("no answer in time", connected=True)


@dataclass
class MemoryDisk:
    """The Disk of one file."""

    data: bytes | None = None
    error: OSError | None = None
    hangs: bool = False
    writes: list[float] = field(default_factory=list)

    async def read(self) -> bytes | None:
        await self._touch()
        return self.data

    async def write(self, data: bytes) -> None:
        await self._touch()
        self.data = data
        self.writes.append(trio.current_time())

    async def _touch(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.hangs:
            await trio.sleep_forever()
        if self.error is not None:
            raise self.error


@dataclass
class WallClock:
    """Goes with virtual time, from ``began_s``; a test may step it."""

    began_s: float = 1_800_000_000.0

    def now_s(self) -> float:
        return self.began_s + trio.current_time()


class Service:
    """A core at work, and what it has published."""

    def __init__(self, core: Core, published: list[Publication], clock: WallClock) -> None:
        self.core = core
        self.published = published
        self.clock = clock
        self.scope = trio.CancelScope()

    @property
    def status(self) -> Status:
        return self.published[-1].status

    @property
    def flag_set(self) -> FlagSet:
        return self.published[-1].held.flag_set

    @property
    def held(self) -> Held:
        return self.published[-1].held

    def value(self, key: str) -> Any:
        document: Any = self.flag_set.flags.get(key)
        return None if document is None else document["variants"][document["default"]]

    async def until(self, condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
        """Virtual time passes until ``condition`` holds; within a bound."""
        with trio.fail_after(within_s):
            while not condition():  # noqa: ASYNC110 - any condition of a test; time is virtual
                await trio.sleep(0.01)

    async def catch_up(self, text: str, timeout_s: float) -> bool:
        done = trio.Event()
        ticket = Ticket(text, timeout_s=timeout_s, finished=done.set)
        self.core.catch_up(ticket)
        with trio.fail_after(timeout_s + 1):
            await done.wait()
        return ticket.reached


@asynccontextmanager
async def service(
    *nodes: Node,
    cache: MemoryDisk | None = None,
    bootstrap: MemoryDisk | None = None,
    held: Held | None = None,
    options: Options | None = None,
    offline: bool = False,
    seed: int = 1,
) -> AsyncIterator[Service]:
    """A core that follows ``nodes`` in this order, until the block is left."""
    urls = [f"http://{node.name}" for node in nodes]
    plan = Plan(urls=() if offline else urls, key=KEY, poll_s=30.0, options=options or Options())
    clock = WallClock()
    world = World(
        transport=Network(dict(zip(urls, nodes, strict=True))),
        clock=clock,
        rng=random.Random(seed),
        cache=cache,
        bootstrap=bootstrap,
    )
    published: list[Publication] = []
    core = Core(plan, world, held=held or Held(flag_set=FlagSet()), publish=published.append)
    made = Service(core, published, clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(core.run)
        await trio.testing.wait_all_tasks_blocked()
        yield made
        nursery.cancel_scope.cancel()
    errors = {published.status.error for published in published if published.status.error}
    assert not [error for error in errors if "internal error" in error]
