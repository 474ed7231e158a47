"""A cluster that answers from a script: the other end of every command in these tests.

The one idea: a node is a table of calls and prepared answers, and a record of what was asked. It takes the place of
the network (an httpx transport), so commands run whole, with their real client.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner, Result

from vexil.node.cli import root
from vexil.node.cli.settings import Settings

Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]

CHANGE = {"id": "00000000000000aa:7", "hlc": "2026-01-01T00:00:00.000Z+0", "durability": "node"}


def answer(body: object = None, *, status: int = 200, **headers: str) -> httpx.Response:
    """A JSON answer; ``etag="…"`` and ``vexil_token="…"`` become headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={} if body is None else body, headers=named)


def problem(status: int, code: str, *, definite: bool = True, **members: object) -> httpx.Response:
    """A refusal as a node words it."""
    title = members.pop("title", "It cannot be")
    detail = members.pop("detail", "because")
    return httpx.Response(
        status,
        json={
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            "definite": definite,
            **members,
        },
        headers={"content-type": "application/problem+json"},
    )


@dataclass
class FakeNode:
    """One node: its prepared answers by call, and the requests it got."""

    answers: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    down: bool = False

    def on(self, method: str, path: str, *replies: Reply) -> FakeNode:
        """Answer this call with ``replies`` in turn, then with the last of them again and again."""
        self.answers[method, path] = list(replies)
        return self

    def handle(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("Connection refused", request=request)
        request.read()
        self.requests.append(request)
        replies = self.answers.get((request.method, request.url.path))
        if replies is None:
            return problem(404, "flag.not_found", title="Not found", detail=f"no {request.url.path}")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        if callable(reply):
            return reply(request)
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Method and path of each request, in order."""
        return [(request.method, request.url.path) for request in self.requests]

    def sent(self, method: str) -> httpx.Request:
        """The only request of this method."""
        (request,) = [request for request in self.requests if request.method == method]
        return request


def body(request: httpx.Request) -> Any:
    """The JSON that a request carried."""
    return json.loads(request.content)


class FakeCluster:
    """Nodes by URL, a folder with their ``cluster.json``, and a way to run commands there."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.pauses: list[float] = []
        self.nodes = {name: FakeNode() for name in names}
        self.urls = {name: f"http://127.0.0.1:{8100 + 2 * i}" for i, name in enumerate(names)}
        document = {
            "nodes": [
                {"name": name, "region": name[:2], "url": url, "flagd_port": 1, "pid": 1}
                for name, url in self.urls.items()
            ],
            "keys": {"admin": "vxa_cluster", "server": "vxs_1", "client": "vxc_1"},
            "project": "demo",
            "environment": "prod",
        }
        (folder / "cluster.json").write_text(json.dumps(document))

    def __getitem__(self, name: str) -> FakeNode:
        return self.nodes[name]

    def handle(self, request: httpx.Request) -> httpx.Response:
        by_url: Mapping[str, FakeNode] = {url: self.nodes[name] for name, url in self.urls.items()}
        return by_url[f"{request.url.scheme}://{request.url.netloc.decode()}"].handle(request)

    def run(self, *arguments: str, input_bytes: bytes | None = None) -> Result:
        """Run ``vexil`` with ``arguments``."""
        settings = Settings(
            folder=self.folder,
            environment=self.environment,
            transport=httpx.MockTransport(self.handle),
            pause=self.pauses.append,
        )
        return CliRunner().invoke(root, list(arguments), obj=settings, input=input_bytes)
