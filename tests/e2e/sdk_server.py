"""A node as far as an SDK sees it, in a thread of the test: real sockets, and whatever state the test puts it in."""

from __future__ import annotations

import json
import queue
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "vxs_of_the_test"
HEARTBEAT_S = 0.2
_END = b""


class SdkServer:
    """Serves ``flags``; tokens are numbers that this server alone understands. Close it."""

    def __init__(self, **flags: Any) -> None:
        self.flags = dict(flags)
        self.seq = 1
        self.port = 0
        self.opened: list[dict[str, str]] = []
        """The headers of every stream that was opened."""
        self.polled: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._streams: list[queue.Queue[bytes]] = []
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def streams(self) -> int:
        """How many are open now."""
        with self._lock:
            return len(self._streams)

    @property
    def document(self) -> dict[str, Any]:
        parts = {"flags": self.flags, "segments": {}, "evaluators": {}, "metadata": {}}
        return {"version": f"v{self.seq}", "bucketing": "v3", **parts}

    def start(self) -> None:
        """Listen, on the port of before if there was one."""
        server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        server.daemon_threads = True
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self._server = server

    def stop(self) -> None:
        """Neither listen nor speak any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with self._lock:
            for stream in self._streams:
                stream.put(_END)

    def change(self, key: str, document: Any) -> str:
        """A flag changes: the token of that."""
        with self._lock:
            before, self.seq = f"v{self.seq}", self.seq + 1
            self.flags = {**self.flags, key: document}
            data = {"from": before, "version": f"v{self.seq}", "set": {key: document}, "delete": []}
            for stream in self._streams:
                stream.put(event("patch", data, str(self.seq)))
            return str(self.seq)

    def follow(self) -> queue.Queue[bytes]:
        """A stream's events, the first of them the whole set."""
        stream: queue.Queue[bytes] = queue.Queue()
        with self._lock:
            stream.put(event("put", self.document, str(self.seq)))
            self._streams.append(stream)
        return stream

    def leave(self, stream: queue.Queue[bytes]) -> None:
        with self._lock:
            self._streams.remove(stream)


def event(kind: str, data: object, id_: str) -> bytes:
    return f"event: {kind}\nid: {id_}\ndata: {json.dumps(data)}\n\n".encode()


def _handler(node: SdkServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            if headers.get("authorization") != f"Bearer {KEY}":
                self._answer(401, b"{}")
            elif self.path == "/sdk/v1/flags":
                node.polled.append(headers)
                self._answer(200, json.dumps(node.document).encode())
            elif self.path == "/sdk/v1/stream":
                node.opened.append(headers)
                self._stream()
            else:
                self._answer(404, b"{}")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Vexil-Token", str(node.seq))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            stream = node.follow()
            try:
                while True:
                    try:
                        data = stream.get(timeout=HEARTBEAT_S)
                    except queue.Empty:
                        data = b": heartbeat\n\n"
                    if data == _END:
                        break
                    self.wfile.write(data)
            except OSError:
                pass
            finally:
                node.leave(stream)
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of http.server
            """Say nothing."""

    return Handler


class Deaf:
    """Takes connections and never answers. Close it."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()
