"""A local cluster starts, is announced, loses nodes, gets them back, and ends without leaving a process."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ports import free_base_ports
from vexil.node.dev.process import holder, is_alive

ROOT = Path(__file__).parents[3]
DRIVER = [sys.executable, "-m", "tests.e2e.dev.driver"]
FAKE_NODE = [sys.executable, "-m", "tests.e2e.dev.fake_node"]
WAIT_S = 30.0


class Terminal:
    """A ``vexil`` that runs in the background, its output line by line."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*DRIVER, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))

    def until(self, wanted: Callable[[str], bool]) -> str:
        """The first line from here on that is wanted."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                line = self._queue.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not among {self.lines}") from None
            self.lines.append(line)
            if wanted(line):
                return line

    def rest(self) -> list[str]:
        """All lines up to the end."""
        self.process.wait(timeout=WAIT_S)
        self._reader.join(timeout=WAIT_S)
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return self.lines

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=WAIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        self.rest()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def base_port() -> int:
    """The first of nine free ports in a row."""
    return next(free_base_ports(9))


class Cluster:
    """The folder of a cluster of three nodes and the terminals opened on it."""

    def __init__(self, data: Path, base_port: int) -> None:
        self.data = data
        self.base_port = base_port
        self.terminals: list[Terminal] = []

    def dev(self, *more: str) -> Terminal:
        terminal = Terminal(
            "dev", "--regions", "eu,us,ap", "--nodes", "1", "--data", str(self.data),
            "--base-port", str(self.base_port), *more,
        )  # fmt: skip
        self.terminals.append(terminal)
        return terminal

    def ready(self) -> Terminal:
        terminal = self.dev()
        terminal.until(lambda line: line == "ready")
        return terminal

    def start(self, name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*DRIVER, "dev", "start", name, "--data", str(self.data)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    def misbehave(self, name: str, how: str) -> None:
        (self.data / name).mkdir(parents=True, exist_ok=True)
        (self.data / name / "behaviour").write_text(how)

    @property
    def file(self) -> dict[str, Any]:
        return json.loads((self.data / "cluster.json").read_text())

    def pid(self, name: str) -> int:
        (pid,) = [node["pid"] for node in self.file["nodes"] if node["name"] == name]
        return pid

    def holders(self) -> list[int | None]:
        return [holder(self.data / name) for name in ("eu-1", "us-1", "ap-1")]


@pytest.fixture
def cluster(tmp_path: Path, base_port: int) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "data", base_port)
    yield cluster
    for terminal in cluster.terminals:
        terminal.close()
    assert cluster.holders() == [None, None, None]


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_starts_announces_and_stops_every_node(cluster: Cluster, number: signal.Signals) -> None:
    terminal = cluster.ready()
    assert terminal.lines.count("ready") == 1
    assert [line.split() for line in terminal.lines[:3]] == [
        [name, name[:2], f"http://127.0.0.1:{cluster.base_port + 2 * i}"]
        for i, name in enumerate(("eu-1", "us-1", "ap-1"))
    ]
    pids = [node["pid"] for node in cluster.file["nodes"]]
    assert cluster.holders() == pids
    assert all(os.getsid(pid) != os.getsid(terminal.process.pid) for pid in pids)
    assert (cluster.file["project"], cluster.file["environment"]) == ("demo", "prod")
    assert sorted(cluster.file["keys"]) == ["admin", "client", "server"]
    assert terminal.end(number) == 0
    assert not any(is_alive(pid) for pid in pids)


def test_started_again_it_has_the_same_keys_and_urls(cluster: Cluster) -> None:
    cluster.ready().end()
    before = cluster.file
    cluster.ready()
    after = cluster.file
    assert after["keys"] == before["keys"]
    assert [node["url"] for node in after["nodes"]] == [node["url"] for node in before["nodes"]]
    assert [node["pid"] for node in after["nodes"]] != [node["pid"] for node in before["nodes"]]


def test_a_key_that_the_cluster_does_not_know_is_made_anew(cluster: Cluster) -> None:
    cluster.ready().end()
    keys = json.loads((cluster.data / "keys.json").read_text())
    (cluster.data / "keys.json").write_text(json.dumps({**keys, "server": "forgotten"}))
    cluster.ready()
    assert cluster.file["keys"]["server"] not in {"forgotten", keys["server"]}
    assert cluster.file["keys"]["client"] == keys["client"]


def test_a_node_that_dies_stays_dead_and_is_reported_in_one_line(cluster: Cluster) -> None:
    terminal = cluster.ready()
    pid = cluster.pid("us-1")
    os.kill(pid, signal.SIGKILL)
    line = terminal.until(lambda line: "us-1" in line)
    assert line == "us-1 died: killed by SIGKILL; `vexil dev start us-1` brings it back"
    assert cluster.holders()[1] is None
    assert terminal.end() == 0
    assert [line for line in terminal.rest() if "died" in line] == [line]


def test_it_runs_on_with_no_node_left(cluster: Cluster) -> None:
    terminal = cluster.ready()
    for name in ("eu-1", "us-1", "ap-1"):
        os.kill(cluster.pid(name), signal.SIGKILL)
    terminal.until(lambda line: "no node is left" in line)
    assert terminal.process.poll() is None
    assert cluster.start("ap-1").returncode == 0
    assert terminal.end() == 0


def test_a_node_is_brought_back_from_another_terminal_and_stopped_with_the_rest(cluster: Cluster) -> None:
    terminal = cluster.ready()
    old = cluster.pid("us-1")
    os.kill(old, signal.SIGKILL)
    terminal.until(lambda line: line.startswith("us-1 died"))
    done = cluster.start("us-1")
    assert done.returncode == 0, done.stderr
    pid = cluster.pid("us-1")
    assert pid == holder(cluster.data / "us-1") != old
    assert done.stdout == f"us-1 is ready (process {pid})\n"
    assert terminal.until(lambda line: "back" in line) == f"us-1 is back (process {pid})"
    # And when this one dies, that is reported too.
    os.kill(pid, signal.SIGKILL)
    terminal.until(lambda line: line.startswith(f"us-1 died: process {pid} has ended"))
    assert cluster.start("us-1").returncode == 0
    again = cluster.pid("us-1")
    assert terminal.end() == 0
    assert not is_alive(again)


def test_a_node_that_is_started_by_hand_is_noticed_recorded_and_stopped(cluster: Cluster) -> None:
    terminal = cluster.ready()
    os.kill(cluster.pid("ap-1"), signal.SIGKILL)
    terminal.until(lambda line: line.startswith("ap-1 died"))
    process = subprocess.Popen([*FAKE_NODE, "--config", str(cluster.data / "ap-1" / "node.toml")], cwd=ROOT)
    terminal.until(lambda line: line == f"ap-1 is back (process {process.pid})")
    eventually(lambda: cluster.pid("ap-1") == process.pid)
    assert terminal.end() == 0
    assert process.wait(WAIT_S) == 0


def test_a_node_that_runs_is_not_started_twice(cluster: Cluster) -> None:
    cluster.ready()
    done = cluster.start("us-1")
    assert done.returncode == 1
    assert f"us-1 runs already (process {cluster.pid('us-1')})" in done.stderr
    unknown = cluster.start("us-9")
    assert unknown.returncode == 1
    assert "ap-1, eu-1, us-1" in unknown.stderr


def test_a_node_started_without_a_supervisor_is_recorded_and_refused_by_the_next(cluster: Cluster) -> None:
    cluster.ready().end()
    assert cluster.start("eu-1").returncode == 0
    pid = holder(cluster.data / "eu-1")
    assert pid == cluster.pid("eu-1")
    assert pid is not None
    second = cluster.dev()
    assert second.process.wait(WAIT_S) == 1
    assert f"eu-1 (process {pid})" in "".join(second.rest())
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: holder(cluster.data / "eu-1") is None)


def test_a_second_supervisor_on_the_folder_is_refused(cluster: Cluster) -> None:
    cluster.ready()
    second = cluster.dev()
    assert second.process.wait(WAIT_S) == 1
    assert "runs already" in "".join(second.rest())
    assert None not in cluster.holders()


@pytest.mark.parametrize("offset", [0, 3, 8])
def test_a_port_in_use_is_named_and_nothing_is_started(cluster: Cluster, offset: int) -> None:
    with socket.create_server(("127.0.0.1", cluster.base_port + offset)):
        terminal = cluster.dev()
        assert terminal.process.wait(WAIT_S) == 1
    assert f"port {cluster.base_port + offset} " in "".join(terminal.rest())
    assert not (cluster.data / "eu-1").exists()


def test_a_node_that_dies_before_it_is_ready_ends_the_start(cluster: Cluster) -> None:
    cluster.misbehave("us-1", "dies")
    terminal = cluster.dev()
    assert terminal.process.wait(WAIT_S) == 1
    shown = "\n".join(terminal.rest())
    assert "us-1 died before the cluster was ready (exit code 7)" in shown
    assert "\n  the disk is on fire" in shown
    assert "ready" not in terminal.lines


def test_an_interrupted_start_ends_every_node(cluster: Cluster) -> None:
    cluster.misbehave("ap-1", "never-ready")
    terminal = cluster.dev()
    eventually(lambda: None not in cluster.holders())
    assert terminal.end() == 0
    assert "ready" not in terminal.rest()


def test_a_node_that_does_not_want_to_end_is_made_to(cluster: Cluster) -> None:
    cluster.misbehave("eu-1", "ignores-sigterm")
    terminal = cluster.ready()
    assert terminal.end() == 0
    assert "ended by force after 1 s: eu-1" in terminal.rest()


def test_it_survives_a_reader_that_goes_away(cluster: Cluster) -> None:
    process = subprocess.Popen(
        [*DRIVER, "dev", "--regions", "eu", "--nodes", "1", "--data", str(cluster.data),
         "--base-port", str(cluster.base_port)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert any(line == "ready\n" for line in process.stdout)
    process.stdout.close()
    os.kill(cluster.pid("eu-1"), signal.SIGKILL)
    eventually(lambda: holder(cluster.data / "eu-1") is None)
    assert cluster.start("eu-1").returncode == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 0


def test_fewer_nodes_than_the_folder_has_are_refused(cluster: Cluster) -> None:
    cluster.ready().end()
    before = cluster.file
    terminal = Terminal("dev", "--regions", "eu", "--nodes", "1", "--data", str(cluster.data))
    cluster.terminals.append(terminal)
    assert terminal.process.wait(WAIT_S) == 1
    assert "us-1" in "".join(terminal.rest())
    assert cluster.file == before
