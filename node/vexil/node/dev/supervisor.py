"""Starts a local cluster, says when it is ready, reports what dies, and stops everything at the end.

The one idea: nothing is started before everything that can be checked has been: the folder, the locks, every port.
After that there is one way out, and it ends every process that was started.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from vexil.node.adapters.folder_lock import FolderLock, FolderLocked, FolderUnusable
from vexil.node.dev.added import with_added
from vexil.node.dev.cluster_file import CLUSTER_FILE, record_pid, write_cluster
from vexil.node.dev.credentials import Credentials
from vexil.node.dev.errors import AlreadyRunning, DevError, NodesNotReady, Stopped
from vexil.node.dev.folder import existing_nodes, log_path, prepare
from vexil.node.dev.layout import NodePlan
from vexil.node.dev.ports import require_free
from vexil.node.dev.private_file import make_private_folder
from vexil.node.dev.process import Command, ending, holder, log_tail, node_command, start_node, stop_all
from vexil.node.dev.provision import ENVIRONMENT, ENVIRONMENTS, PROJECT, Provisioner

READY_POLL_S = 0.05
READY_TIMEOUT_S = 2.0
WATCH_INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long each phase may take."""

    ready_s: float = 60.0
    """All nodes, from their start to the last /readyz."""
    provision_s: float = 60.0
    """Project and keys made, and known to every node."""
    stop_s: float = 10.0
    """From SIGTERM to SIGKILL."""


class Supervisor:
    """One run of ``vexil dev`` on a data folder."""

    def __init__(
        self,
        data: Path,
        plans: Sequence[NodePlan],
        *,
        stop: threading.Event,
        say: Callable[[str], None],
        limits: Limits | None = None,
        command: Command = node_command,
    ) -> None:
        """``stop`` ends the run from a signal handler or another thread; ``say`` prints one line."""
        self._data = data
        self._plans = tuple(plans)
        self._stop = stop
        self._say = say
        self._limits = limits or Limits()
        self._command = command
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._adopted: dict[str, int] = {}
        """Nodes that somebody brought back while we watch: their process ids."""

    def run(self) -> None:
        """Start, watch, stop; returns when ``stop`` is set. Raises DevError when the cluster does not come up.

        On return, and on every error, each process of the cluster has ended.
        """
        try:
            make_private_folder(self._data)
            lock = FolderLock.acquire(self._data)
        except FolderLocked as error:
            raise AlreadyRunning(f"`vexil dev` runs already: {error}") from error
        except (FolderUnusable, OSError) as error:
            raise DevError(f"{self._data} cannot be used: {error}") from error
        with lock:
            self._plans = with_added(self._data, self._plans)
            self._refuse_running()
            require_free(self._plans)
            prepare(self._data, self._plans)
            credentials = Credentials.open(self._data)
            (self._data / CLUSTER_FILE).unlink(missing_ok=True)
            try:
                self._start(credentials)
                self._watch()
            except Stopped:
                self._say("called off before the cluster was ready")
            finally:
                self._end()

    def _refuse_running(self) -> None:
        """Nodes of an earlier run that ended without a chance to stop them."""
        running = {node.name: holder(self._data / node.name) for node in self._plans}
        left = [f"{name} (process {pid})" for name, pid in running.items() if pid is not None]
        if left:
            raise AlreadyRunning(
                f"nodes of {self._data} run already: {', '.join(left)}. "
                "Stop them first: kill with the process ids above."
            )

    def _start(self, credentials: Credentials) -> None:
        began = time.monotonic()
        for node in self._plans:
            self._children[node.name] = start_node(
                self._data, node.name, owner_key=credentials.owner, command=self._command
            )
        with httpx.Client(trust_env=False) as http:
            self._await_ready(http)
            provisioner = Provisioner(
                http, credentials, limit_s=self._limits.provision_s, pause=self._pause_of_start
            )
            provisioner.run(self._first(), self._plans)
        write_cluster(
            self._data,
            self._plans,
            pids={name: child.pid for name, child in self._children.items()},
            keys=credentials.all(),
            project=PROJECT,
            environment=ENVIRONMENT,
        )
        self._announce(time.monotonic() - began)

    def _first(self) -> NodePlan:
        """The node that the project is made at: the one that began the cluster, if it is there."""
        configs = existing_nodes(self._data)
        return next((node for node in self._plans if configs[node.name].bootstrap), self._plans[0])

    def _await_ready(self, http: httpx.Client) -> None:
        deadline = time.monotonic() + self._limits.ready_s
        waiting = list(self._plans)
        while waiting:
            self._refuse_dead()
            waiting = [node for node in waiting if not is_ready(http, node.url)]
            if not waiting:
                return
            if time.monotonic() > deadline:
                names = ", ".join(node.name for node in waiting)
                logs = ", ".join(str(log_path(self._data, node.name)) for node in waiting)
                raise NodesNotReady(f"not ready after {self._limits.ready_s:.0f} s: {names} (see {logs})")
            if self._stop.wait(READY_POLL_S):
                raise Stopped

    def _pause_of_start(self, seconds: float) -> bool:
        self._refuse_dead()
        return self._stop.wait(seconds)

    def _refuse_dead(self) -> None:
        """A node that dies during the start ends it: half a cluster is not what was asked for."""
        for name, child in self._children.items():
            code = child.poll()
            if code is not None:
                tail = "".join(f"\n    {line}" for line in log_tail(self._data, name))
                log = log_path(self._data, name)
                raise NodesNotReady(
                    f"{name} died before the cluster was ready ({ending(code)}); {log} ends:{tail}"
                )

    def _announce(self, took_s: float) -> None:
        for node in self._plans:
            self._say(f"{node.name:<8} {node.region:<8} {node.url}")
        environments = " and ".join(ENVIRONMENTS)
        self._say(
            f"project {PROJECT} with {environments}; keys in {self._data / CLUSTER_FILE}; {took_s:.1f} s"
        )
        self._say("ready")

    def _watch(self) -> None:
        """Report what dies and what comes back, until told to stop."""
        dead: set[str] = set()
        while not self._stop.wait(WATCH_INTERVAL_S):
            self._plans = with_added(self._data, self._plans)
            for node in self._plans:
                self._look_at(node.name, dead)

    def _look_at(self, name: str, dead: set[str]) -> None:
        child = self._children.get(name)
        if child is not None:
            code = child.poll()
            if code is None:
                return
            del self._children[name]
            self._report_death(name, ending(code), dead)
        pid = holder(self._data / name)
        if pid == self._adopted.get(name):
            return
        if pid is None:
            gone = self._adopted.pop(name)
            self._report_death(name, f"process {gone} has ended", dead)
            return
        if name in self._adopted:
            self._say(f"{name} was started again (process {pid})")
        else:
            self._say(f"{name} is back (process {pid})")
        self._adopted[name] = pid
        dead.discard(name)
        record_pid(self._data, name, pid)

    def _report_death(self, name: str, how: str, dead: set[str]) -> None:
        dead.add(name)
        none_left = "; no node is left" if len(dead) == len(self._plans) else ""
        self._say(f"{name} died: {how}{none_left}; `vexil dev start {name}` brings it back")

    def _end(self) -> None:
        if any(child.poll() is None for child in self._children.values()) or self._adopted:
            self._say("stopping")
        folders = {node.name: self._data / node.name for node in self._plans}
        forced = stop_all(self._children, folders, grace_s=self._limits.stop_s)
        if forced:
            self._say(f"ended by force after {self._limits.stop_s:.0f} s: {', '.join(forced)}")


def is_ready(http: httpx.Client, url: str) -> bool:
    """Whether the node at ``url`` says that it is ready."""
    try:
        return http.get(f"{url}/readyz", timeout=READY_TIMEOUT_S).is_success
    except httpx.TransportError:
        return False
