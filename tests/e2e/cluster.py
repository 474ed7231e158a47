"""A cluster of real processes, reached only as its users reach it: the terminal, the command line, HTTP, signals.

The one idea: whatever a test did to it, ``close`` leaves no process behind, and ``logs`` tells what the nodes said.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.ports import free_base_ports
from tests.e2e.terminal import VEXIL, Terminal
from tests.e2e.waiting import POLL_S, eventually
from vexil.node.dev.process import holder

REGIONS = ("eu", "us", "ap")
NODES = tuple(f"{region}-{number}" for region in REGIONS for number in (1, 2))
PROJECT = "demo"
FLAGS = f"/api/v1/projects/{PROJECT}/flags"
CONFLICTS = f"/api/v1/projects/{PROJECT}/conflicts"
HISTORY = f"/api/v1/projects/{PROJECT}/history"
PORTS = 3 * len(NODES)
STARTS_MAX = 5
"""Another process may take a port between the look and the start."""
COMMAND_S = 60.0
REQUEST_S = 20.0
LOG_SHOWN_BYTES = 3_000


class Cluster:
    """``vexil dev`` with three regions of two nodes on the folder ``data``; close it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.terminals: list[Terminal] = []
        self._http = httpx.Client(trust_env=False, timeout=REQUEST_S)
        self._base_port: int | None = None

    # -- life

    def dev(self) -> Terminal:
        """``vexil dev`` on the folder, without waiting for anything."""
        assert self._base_port is not None
        arguments = ("dev", "--data", str(self.data), "--base-port", str(self._base_port))
        terminal = Terminal(*arguments, folder=self.data.parent)
        self.terminals.append(terminal)
        return terminal

    def up(self) -> float:
        """Start it and wait until it says that it is ready: how many seconds that took."""
        choices = [self._base_port] if self._base_port else free_base_ports(PORTS)
        for _, self._base_port in zip(range(STARTS_MAX), choices, strict=False):
            began = time.monotonic()
            terminal = self.dev()
            line = terminal.until(lambda line: line == "ready" or "nothing was started" in line)
            if line == "ready":
                return time.monotonic() - began
            terminal.close()
        raise AssertionError("no free ports")

    def down(self) -> int:
        """Stop it with SIGTERM: the exit code."""
        return self.terminals[-1].end()

    def close(self) -> None:
        """End every process of the folder."""
        self._http.close()
        for terminal in reversed(self.terminals):
            terminal.close()
        for folder in self.data.glob("*/"):
            # Only what a broken supervisor leaves behind.
            while (pid := holder(folder)) is not None:
                kill(pid)
                time.sleep(POLL_S)

    def make_whole(self) -> None:
        """Bring back what is dead and mend what is cut."""
        for name in NODES:
            if self.runs(name) is None:
                self.start(name)
        for name in NODES:
            for a, b in self.status(name)["links_cut"]:
                self.link(a, b, "ok", at=[name])

    # -- what is known of it

    @property
    def file(self) -> dict[str, Any]:
        """``cluster.json``."""
        return json.loads((self.data / "cluster.json").read_text())

    def url(self, name: str) -> str:
        """Where the HTTP interface of a node is."""
        return next(node["url"] for node in self.file["nodes"] if node["name"] == name)

    def pid(self, name: str) -> int:
        """The process id of a node as the file has it."""
        return next(node["pid"] for node in self.file["nodes"] if node["name"] == name)

    def runs(self, name: str) -> int | None:
        """The process that holds the folder of a node, if one does."""
        return holder(self.data / name)

    def log(self, name: str) -> str:
        """All that a node has logged."""
        return (self.data / name / "node.log").read_text(errors="replace")

    def logs(self) -> str:
        """The end of everything that was printed and logged, for the report of a failed test."""
        parts = ["\n".join(terminal.lines) for terminal in self.terminals]
        parts += [
            f"--- {path}\n{path.read_text(errors='replace')[-LOG_SHOWN_BYTES:]}"
            for path in sorted(self.data.glob("*/node.log"))
        ]
        return "\n".join(parts)

    # -- using it

    def ask(
        self,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str = "admin",
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> httpx.Response:
        """One request to the node ``name`` with one of the keys of ``cluster.json``; nothing is retried."""
        authorization = {"Authorization": f"Bearer {self.file['keys'][key]}"}
        content = None if body is None else json.dumps(body).encode()
        return self._http.request(
            method,
            self.url(name) + path,
            content=content,
            headers={**authorization, **(headers or {})},
            params=params,
        )

    def done(self, name: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """As ``ask``, for what has to succeed: the decoded answer."""
        answer = self.ask(name, method, path, body, **more)
        assert answer.is_success, f"{method} {path} at {name}: {answer.status_code} {answer.text}"
        return answer.json()

    def items(self, name: str, path: str, **params: str) -> list[dict[str, Any]]:
        """All pages of a list."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            query = {"page_size": "500", **params, **({"page_token": token} if token else {})}
            page = self.done(name, "GET", path, params=query)
            found += page["items"]
            token = page["next_page_token"]
            if not token:
                return found

    def status(self, name: str) -> dict[str, Any]:
        """What a node says of itself."""
        return self.done(name, "GET", "/api/v1/status")

    def create(self, name: str, key: str, **members: Any) -> dict[str, Any]:
        """Make a flag at a node: boolean, on in ``prod``, with what ``members`` say."""
        body = {
            "key": key,
            "type": "boolean",
            "variants": {"on": True, "off": False},
            "environments": {"prod": {"enabled": True, "default": "on", "off_variant": "off"}},
            **members,
        }
        return self.done(name, "POST", FLAGS, body)

    def patch(self, name: str, key: str, patch: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Change a flag at a node."""
        return self.done(name, "PATCH", f"{FLAGS}/{key}", patch, **more)

    def evaluate(self, name: str, key: str, **context: Any) -> dict[str, Any]:
        """What OFREP answers for a flag at a node."""
        return self.ask(
            name, "POST", f"/ofrep/v1/evaluate/flags/{key}", {"context": context}, key="server"
        ).json()

    def vexil(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command in (or below) the folder of ``cluster.json``."""
        return subprocess.run(
            [*VEXIL, *arguments],
            cwd=folder or self.data,
            env={name: value for name, value in os.environ.items() if not name.startswith("VEXIL_")},
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def said(self, *arguments: str) -> Any:
        """What a command that has to succeed answers with ``--json``."""
        run = self.vexil(*arguments, "--json")
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    # -- harming it

    def kill(self, *names: str) -> None:
        """SIGKILL nodes; return when they have ended."""
        for name in names:
            os.kill(self.pid(name), signal.SIGKILL)
        eventually(lambda: not any(map(self.runs, names)))

    def start(self, *names: str) -> None:
        """Bring dead nodes back, each from a terminal of its own."""
        data = str(self.data)
        terminals = [Terminal("dev", "start", name, "--data", data, folder=self.data) for name in names]
        try:
            for name, terminal in zip(names, terminals, strict=True):
                assert terminal.wait() == 0, "\n".join(terminal.lines)
                assert terminal.lines == [f"{name} is ready (process {self.runs(name)})"]
        finally:
            for terminal in terminals:
                terminal.close()

    def link(self, a: str, b: str, state: str, *, at: Iterable[str]) -> None:
        """Tell the nodes ``at`` to cut or mend their own traffic between two places."""
        for name in at:
            self.done(name, "POST", "/api/v1/dev/links", {"a": a, "b": b, "state": state})

    def isolate(self, region: str) -> None:
        """Cut a region off: nobody outside reaches it, and it reaches nobody."""
        self._link_outside(region, "cut")

    def rejoin(self, region: str) -> None:
        """Mend what ``isolate`` has cut."""
        self._link_outside(region, "ok")

    def _link_outside(self, region: str, state: str) -> None:
        for other in REGIONS:
            if other != region:
                self.link(region, other, state, at=[name for name in NODES if name.startswith(region)])

    # -- comparing it

    def agree(self, names: Iterable[str] = NODES) -> bool:
        """Whether nodes have seen the same changes and hold the same, in every project."""
        states = [
            {name: (state["vv_hash"], state["root_hash"]) for name, state in status["projects"].items()}
            for status in map(self.status, names)
        ]
        assert all(state == states[0] for state in states[1:]), states
        return True

    def everywhere(self, holds: Callable[[str], bool]) -> None:
        """Wait until something holds at every node, asked by its name."""
        for name in NODES:
            eventually(partial(holds, name))

    def settle(self, names: Iterable[str] = NODES) -> None:
        """Wait until the nodes agree."""
        chosen = tuple(names)
        eventually(lambda: self.agree(chosen))


def kill(pid: int) -> None:
    """End a process by force, if it is there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
