"""``vexil dev start NAME``: brings one node back, from any terminal.

The one idea: the node belongs to the cluster, not to the terminal that it was started from. It is started detached,
and a supervisor that watches the folder finds it by its lock, reports it and stops it with the rest.
"""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from vexil.node.config import ConfigError, NodeConfig
from vexil.node.dev.cluster_file import CLUSTER_FILE, record_pid, recorded_pid
from vexil.node.dev.credentials import Credentials
from vexil.node.dev.errors import AlreadyRunning, FolderUnsuitable, NodesNotReady, NodeUnknown
from vexil.node.dev.folder import config_path, existing_nodes, log_path
from vexil.node.dev.process import Command, ending, holder, log_tail, node_command, start_node, stop_all
from vexil.node.dev.supervisor import is_ready

READY_S = 60.0
RECORDED_S = 5.0
STOP_S = 10.0
POLL_S = 0.05


def restart(data: Path, name: str, *, command: Command = node_command, ready_s: float = READY_S) -> int:
    """Start the node and return its process id once it is ready and ``cluster.json`` names it.

    Raises NodeUnknown, AlreadyRunning, FolderUnsuitable, and NodesNotReady when it dies or takes longer than
    ``ready_s`` (then it runs on).
    """
    if not config_path(data, name).is_file():
        known = ", ".join(existing_nodes(data)) or "none"
        raise NodeUnknown(f"{data} has no node {name!r}; it has: {known}")
    pid = holder(data / name)
    if pid is not None:
        raise AlreadyRunning(f"{name} runs already (process {pid})")
    try:
        config = NodeConfig.load(config_path(data, name), {})
    except ConfigError as error:
        raise FolderUnsuitable(str(error)) from error
    watched = holder(data)
    child = start_node(data, name, owner_key=Credentials.open(data).owner, command=command)
    deadline = time.monotonic() + ready_s
    with httpx.Client(trust_env=False) as http:
        while not is_ready(http, f"http://{config.http_host}:{config.http_port}"):
            code = child.poll()
            if code is not None:
                tail = "".join(f"\n    {line}" for line in log_tail(data, name))
                raise NodesNotReady(f"{name} died ({ending(code)}); {log_path(data, name)} ends:{tail}")
            if time.monotonic() > deadline:
                raise NodesNotReady(
                    f"{name} runs (process {child.pid}) but is not ready after {ready_s:.0f} s; "
                    f"see {log_path(data, name)}"
                )
            time.sleep(POLL_S)
    if watched is not None and holder(data) is None:
        # The supervisor ended before the node held its lock, so it could not see it.
        stop_all({name: child}, {}, grace_s=STOP_S)
        raise NodesNotReady(f"`vexil dev` ended meanwhile, so {name} was stopped again")
    _record(data, name, child.pid)
    # It outlives this process: nobody is left to wait for it, which is what init is for.
    child.returncode = 0
    return child.pid


def _record(data: Path, name: str, pid: int) -> None:
    """See to it that ``cluster.json`` names the process; a supervisor writes it itself when it has seen the node."""
    deadline = time.monotonic() + RECORDED_S
    while holder(data) is not None and time.monotonic() < deadline:
        if recorded_pid(data, name) == pid:
            return
        time.sleep(POLL_S)
    if (data / CLUSTER_FILE).exists():
        record_pid(data, name, pid)
