"""Which node, key and project a command talks to, and as whom.

The one idea: what is said nearest wins: an option, then an environment variable, then the nearest ``cluster.json``.
A key from a ``cluster.json`` is only ever sent to the nodes which that same file names: it is not handed to whatever
``--node`` points at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx

from vexil.node.adapters.system import pause
from vexil.node.cli.errors import CommandFailed

URL_VARIABLE = "VEXIL_URL"
KEY_VARIABLE = "VEXIL_KEY"
PROJECT_VARIABLE = "VEXIL_PROJECT"
CLUSTER_FILE = "cluster.json"
DATA_FOLDER = ".vexil"


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node as ``cluster.json`` names it."""

    name: str
    region: str
    url: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a ``cluster.json`` says."""

    path: Path
    nodes: tuple[ClusterNode, ...]
    keys: Mapping[str, str]
    project: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: the first node that takes one is stayed with; a node that was asked for stands alone."""

    nodes: tuple[ClusterNode, ...]
    key: str | None
    cluster: Cluster | None


@dataclass(slots=True)
class Settings:
    """The options that every command has; filled while the command line is read."""

    node: str | None = None
    key: str | None = None
    project: str | None = None
    as_json: bool = False
    folder: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    transport: httpx.BaseTransport | None = None
    """Tests put their own server here."""
    pause: Callable[[float], None] = pause
    """Waits so many seconds before a node is asked again."""

    def target(self) -> Target:
        """The nodes to ask, in order, and the key to show them. Raises UsageError when nothing names a node."""
        cluster = find_cluster(self.folder)
        key = self.key or self.environment.get(KEY_VARIABLE) or None
        named = self.node or self.environment.get(URL_VARIABLE) or None
        if named is None:
            if cluster is None:
                raise click.UsageError(
                    f"which node? Give --node URL or {URL_VARIABLE}, or run in (or below) a folder with a "
                    f"{CLUSTER_FILE}: `vexil dev` writes one."
                )
            return Target(cluster.nodes, key or cluster.keys.get("admin"), cluster)
        known = cluster.nodes if cluster else ()
        nodes = tuple(node for node in known if named in {node.name, node.url} or _same(named, node.url))
        if nodes:
            assert cluster is not None, "only a cluster has known nodes"
            return Target(nodes[:1], key or cluster.keys.get("admin"), cluster)
        return Target((ClusterNode("", "", checked_url(named, known)),), key, None)

    def project_name(self) -> str:
        """The project to work in. Raises UsageError when nothing names one."""
        named = self.project or self.environment.get(PROJECT_VARIABLE)
        if named:
            return named
        cluster = find_cluster(self.folder)
        if cluster is not None and cluster.project:
            return cluster.project
        raise click.UsageError(f"which project? Give --project NAME or {PROJECT_VARIABLE}.")


def find_cluster(folder: Path) -> Cluster | None:
    """The ``cluster.json`` of ``folder``, of its ``.vexil``, or of the nearest parent that has one."""
    for place in (folder, *folder.parents):
        for path in (place / CLUSTER_FILE, place / DATA_FOLDER / CLUSTER_FILE):
            if path.is_file():
                return read_cluster(path)
    return None


def read_cluster(path: Path) -> Cluster:
    """What the file at ``path`` says. Raises CommandFailed when it cannot be read or is no such file."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(
            ClusterNode(str(node["name"]), str(node["region"]), str(node["url"]).rstrip("/"))
            for node in document["nodes"]
        )
        keys = {str(kind): str(key) for kind, key in document.get("keys", {}).items()}
        project = str(document.get("project") or "")
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandFailed(f"{path} is not a cluster.json that `vexil dev` wrote: {error!r}") from error
    if not nodes:
        raise CommandFailed(f"{path} names no nodes")
    return Cluster(path, nodes, keys, project)


def checked_url(text: str, known: tuple[ClusterNode, ...] = ()) -> str:
    """``text`` without its last slash. Raises UsageError when it is no HTTP URL."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        names = f" or one of {', '.join(node.name for node in known)}" if known else ""
        raise click.UsageError(f"{text!r} is not a node: give a URL like http://127.0.0.1:8100{names}.")
    return text.rstrip("/")


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
