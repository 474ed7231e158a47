"""A program that keeps a node's side of the bargain with its supervisor, and nothing else.

It takes its folder's lock, listens on its HTTP port, and answers the calls that the supervisor makes. What a real
cluster would replicate is in a file beside the nodes' folders, so all of them know a key as soon as one has made it.

``DATA/<name>/behaviour`` holds words that make it misbehave: ``dies`` (exit code 7 at once), ``never-ready``,
``ignores-sigterm``.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from vexil.node.adapters.folder_lock import FolderLock
from vexil.node.config import NodeConfig


class Handler(http.server.BaseHTTPRequestHandler):
    """One request, answered from the shared file."""

    state: Path
    behaviour: str

    def do_GET(self) -> None:
        known = self.known()
        if self.path == "/readyz":
            self.reply(503 if "never-ready" in self.behaviour else 200)
        elif self.path == "/flagd/v1/flags.json":
            self.reply(200 if self.bearer() == known.get("server") else 401)
        elif self.bearer() != known["admin"]:
            self.reply(401)
        elif self.path == "/api/v1/projects/demo":
            self.reply(200 if "project" in known else 404)
        else:
            self.reply(404)

    def do_PUT(self) -> None:
        self.keep("project", self.body()["environments"])
        self.reply(201)

    def do_POST(self) -> None:
        if self.path == "/ofrep/v1/evaluate/flags":
            self.body()
            self.reply(200 if self.bearer() == self.known().get("client") else 401)
            return
        body = self.body()
        key = f"{body['kind']}-{len(self.known())}"
        self.keep(body["kind"], key)
        self.reply(201, {"id": key, "key": key})

    def known(self) -> dict[str, Any]:
        try:
            return json.loads(self.state.read_text())
        except FileNotFoundError:
            return {"admin": os.environ["VEXIL_BOOTSTRAP_KEY"]}

    def keep(self, name: str, value: object) -> None:
        self.state.write_text(json.dumps({**self.known(), name: value}))

    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def reply(self, status: int, document: object = None) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Run until SIGTERM."""
    config = NodeConfig.load(Path(sys.argv[sys.argv.index("--config") + 1]), {})
    behaviour = config.data / "behaviour"
    Handler.behaviour = behaviour.read_text() if behaviour.exists() else ""
    Handler.state = config.data.parent / "replicated.json"
    if "dies" in Handler.behaviour:
        sys.stderr.write("the disk is on fire\n")
        sys.exit(7)

    def end(number: int, frame: FrameType | None) -> None:
        if "ignores-sigterm" not in Handler.behaviour:
            os._exit(0)

    signal.signal(signal.SIGTERM, end)
    with FolderLock.acquire(config.data):
        server = http.server.ThreadingHTTPServer((config.http_host, config.http_port), Handler)
        server.serve_forever()


if __name__ == "__main__":
    main()
