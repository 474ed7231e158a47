"""``cluster.json``: where the nodes are, for the command line and for tests.

The one idea: it has one writer at a time, and is replaced in one step, so a reader never sees half of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from vexil.node.dev.layout import NodePlan
from vexil.node.dev.private_file import write_private

CLUSTER_FILE = "cluster.json"


def write_cluster(
    data: Path,
    plans: Sequence[NodePlan],
    *,
    pids: Mapping[str, int],
    keys: Mapping[str, str],
    project: str,
    environment: str,
) -> None:
    """Write the file anew. A node that never ran has no ``pid`` (null)."""
    document = {
        "nodes": [_entry(node, pids.get(node.name)) for node in plans],
        "keys": dict(keys),
        "project": project,
        "environment": environment,
    }
    write_private(data / CLUSTER_FILE, json.dumps(document, indent=2) + "\n")


def _entry(node: NodePlan, pid: int | None) -> dict[str, object]:
    return {
        "name": node.name,
        "region": node.region,
        "url": node.url,
        "flagd_port": node.flagd_port,
        "pid": pid,
    }


def add_to_cluster(data: Path, node: NodePlan) -> None:
    """Name one more node, which does not run yet; nothing where there is no file or it is named already."""
    path = data / CLUSTER_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    if all(other["name"] != node.name for other in document["nodes"]):
        document["nodes"].append(_entry(node, None))
        write_private(path, json.dumps(document, indent=2) + "\n")


def recorded_pid(data: Path, name: str) -> int | None:
    """The process id that the file gives for a node; None when there is none, or no file."""
    try:
        document = json.loads((data / CLUSTER_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    for node in document["nodes"]:
        if node["name"] == name:
            pid: int | None = node["pid"]
            return pid
    return None


def record_pid(data: Path, name: str, pid: int) -> None:
    """Set the process id of one node; all else stays."""
    path = data / CLUSTER_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    for node in document["nodes"]:
        if node["name"] == name:
            node["pid"] = pid
    write_private(path, json.dumps(document, indent=2) + "\n")
