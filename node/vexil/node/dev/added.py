"""Nodes that were added to a local cluster while it ran: `vexil member add`.

The one idea: what was added is written down before it is made, in a file of its own, so that every later `vexil dev`
has these nodes too, whatever its options say. They have ports of their own, which no option moves.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path

from vexil.node.dev.cluster_file import add_to_cluster
from vexil.node.dev.errors import AlreadyRunning, DevError, FolderUnsuitable, PortTaken
from vexil.node.dev.folder import existing_nodes, prepare_one
from vexil.node.dev.layout import HOST, NODES_MAX, PORT_MAX, NodePlan, is_node_name
from vexil.node.dev.private_file import write_private
from vexil.node.dev.process import holder

ADDED_FILE = "added.json"
_PORTS = ("http_port", "peer_port", "flagd_port")


def read_added(data: Path) -> tuple[NodePlan, ...]:
    """The nodes that were added to the cluster in ``data``. Raises FolderUnsuitable."""
    path = data / ADDED_FILE
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            NodePlan(str(node["name"]), str(node["region"]), *(int(node[port]) for port in _PORTS))
            for node in listed
        )
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FolderUnsuitable(f"{path} cannot be read: {error!r}") from error


def with_added(data: Path, plans: Sequence[NodePlan]) -> tuple[NodePlan, ...]:
    """``plans`` and behind them the added nodes that they do not name. Raises FolderUnsuitable, PortTaken."""
    named = {node.name for node in plans}
    added = tuple(node for node in read_added(data) if node.name not in named)
    taken = {port: node for node in plans for port in node.ports}
    for node in added:
        for port in node.ports:
            if port in taken:
                raise PortTaken(
                    f"port {port} would be both {taken[port].name}'s and {node.name}'s, which was added; nothing was "
                    "started. Choose other ports with --base-port."
                )
    return (*plans, *added)


def add_node(data: Path, name: str, region: str) -> NodePlan:
    """Add a node to the cluster that runs in ``data``; it is not started. Raises DevError; then nothing was added."""
    existing = existing_nodes(data)
    if not is_node_name(name) or not is_node_name(region):
        raise DevError(
            f"{name!r} in {region!r} cannot be a node: names are of A-Z a-z 0-9 . _ -, the first a letter or a digit"
        )
    if name in existing:
        raise AlreadyRunning(f"{data} has a node {name} already: `vexil dev start {name}` brings it back")
    if len(existing) >= NODES_MAX:
        raise DevError(f"a local cluster has at most {NODES_MAX} nodes")
    if holder(data) is None:
        raise DevError(f"no cluster runs in {data}: start it with `vexil dev`")
    before = read_added(data)
    taken = {port for config in existing.values() for port in (config.http_port, config.peer_port)}
    taken |= {listener.port for config in existing.values() for listener in config.flagd_listener}
    taken |= {port for node in before for port in node.ports}
    node = NodePlan(name, region, *_free_ports(max(taken) + 1, len(_PORTS)))
    listed = [*(other for other in before if other.name != name), node]
    document = [
        {"name": other.name, "region": other.region, **dict(zip(_PORTS, other.ports, strict=True))}
        for other in listed
    ]
    try:
        write_private(data / ADDED_FILE, json.dumps(document, indent=2) + "\n")
        prepare_one(data, node, [config.peer_url for config in existing.values()])
        add_to_cluster(data, node)
    except OSError as error:
        raise DevError(f"{data} cannot be written: {error}") from error
    return node


def _free_ports(first: int, count: int) -> list[int]:
    found: list[int] = []
    for port in range(first, PORT_MAX + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise PortTaken(f"there are no {count} free ports from {first} on")
