"""The data folder of a local cluster: one folder a node with its ``node.toml``, and what all nodes share.

The one idea: the folder decides, not the options. A node that has a folder is a member of the cluster, and its
cluster waits for it before it forgets anything; so options that leave such a node out are refused, and options that
name more nodes add them. What a person has written into a ``node.toml`` beside the keys below stays there::

    DATA/lock              one `vexil dev` at a time
    DATA/cluster.secret    shared by all nodes
    DATA/keys.json         keys that were made at the first start
    DATA/cluster.json      for the command line and for tests, anew at each start
    DATA/added.json        nodes that were added while the cluster ran
    DATA/<name>/           node.toml, node.log, and the node's own files
"""

from __future__ import annotations

import json
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vexil.node.config import ConfigError, NodeConfig
from vexil.node.dev.errors import DevError, FolderUnsuitable
from vexil.node.dev.layout import HOST, NodePlan
from vexil.node.dev.private_file import make_private_folder, write_private
from vexil.node.dev.provision import ENVIRONMENT, PROJECT

CONFIG_FILE = "node.toml"
SECRET_FILE = "cluster.secret"  # noqa: S105 - the name of a file, not a secret
LOG_FILE = "node.log"
SECRET_BYTES = 32

MANAGED_KEYS = frozenset(
    {
        "name",
        "region",
        "data",
        "http_host",
        "http_port",
        "peer_host",
        "peer_port",
        "cluster_secret_file",
        "seeds",
        "bootstrap",
        "dev",
    }
)
"""What the supervisor writes; all other keys of a node.toml are its owner's."""
LISTENERS = "flagd_listener"
"""Sections of which one is the supervisor's."""


def config_path(data: Path, name: str) -> Path:
    """The ``node.toml`` of a node."""
    return data / name / CONFIG_FILE


def log_path(data: Path, name: str) -> Path:
    """Where the output of a node goes."""
    return data / name / LOG_FILE


def existing_nodes(data: Path) -> dict[str, NodeConfig]:
    """The nodes that have a folder in ``data``, by name. Raises FolderUnsuitable for one that cannot be read."""
    found = {}
    for path in sorted(data.glob(f"*/{CONFIG_FILE}")):
        try:
            config = NodeConfig.load(path, {})
        except ConfigError as error:
            raise FolderUnsuitable(str(error)) from error
        if config.name != path.parent.name:
            raise FolderUnsuitable(f"{path} is of a node named {config.name}: a node's folder has its name")
        found[config.name] = config
    return found


def prepare(data: Path, plans: Sequence[NodePlan]) -> None:
    """Bring ``data`` to what ``plans`` need: secret, folders, configurations. Nothing is ever deleted.

    Raises FolderUnsuitable before anything is written when the folder has nodes that ``plans`` leave out or that
    are of another region, and DevError when it cannot be written.
    """
    existing = existing_nodes(data)
    _refuse_loss(data, existing, plans)
    bootstrap = _bootstrap_name(existing, plans)
    try:
        make_private_folder(data)
        secret = data / SECRET_FILE
        if not secret.exists():
            if existing:
                raise FolderUnsuitable(f"{secret} is missing, and the nodes in {data} know each other by it")
            write_private(secret, secrets.token_hex(SECRET_BYTES) + "\n")
        # The bootstrap node first: a start that is cut short never leaves a cluster without one.
        for node in sorted(plans, key=lambda node: node.name != bootstrap):
            make_private_folder(data / node.name)
            seeds = [other.peer_url for other in plans if other is not node]
            _write_config(config_path(data, node.name), node, seeds, bootstrap=node.name == bootstrap)
    except OSError as error:
        raise DevError(f"{data} cannot be written: {error}") from error


def prepare_one(data: Path, node: NodePlan, seeds: list[str]) -> None:
    """The folder and configuration of one more node, which joins through ``seeds``. Raises OSError."""
    make_private_folder(data / node.name)
    _write_config(config_path(data, node.name), node, seeds, bootstrap=False)


def _refuse_loss(data: Path, existing: Mapping[str, NodeConfig], plans: Sequence[NodePlan]) -> None:
    planned = {node.name: node for node in plans}
    left_out = [name for name in existing if name not in planned]
    if left_out:
        regions = list(dict.fromkeys(config.region for config in existing.values()))
        raise FolderUnsuitable(
            f"{data} has nodes that --regions and --nodes leave out: {', '.join(left_out)} "
            f"(regions of the folder: {','.join(regions)}). Name them all, or use another --data folder."
        )
    moved = [name for name, config in existing.items() if config.region != planned[name].region]
    if moved:
        raise FolderUnsuitable(f"{moved[0]} is in {data} as a node of region {existing[moved[0]].region}")


def _bootstrap_name(existing: Mapping[str, NodeConfig], plans: Sequence[NodePlan]) -> str | None:
    """Who may start a cluster from nothing: the first node ever, then it alone.

    When its folder is gone while others have theirs, nobody: a second cluster would begin beside theirs.
    """
    named = [name for name, config in existing.items() if config.bootstrap]
    if named:
        return named[0]
    return None if existing else plans[0].name


def _write_config(path: Path, node: NodePlan, seeds: list[str], *, bootstrap: bool) -> None:
    managed: dict[str, Any] = {
        "name": node.name,
        "region": node.region,
        "data": ".",
        "http_host": HOST,
        "http_port": node.http_port,
        "peer_host": HOST,
        "peer_port": node.peer_port,
        "cluster_secret_file": f"../{SECRET_FILE}",
        "seeds": seeds,
        "bootstrap": bootstrap,
        "dev": True,
    }
    present = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    others = {key: value for key, value in present.items() if key not in MANAGED_KEYS}
    listeners = _listeners(node, others.pop(LISTENERS, []))
    wanted = {**managed, **others, LISTENERS: listeners}
    if present != wanted:
        write_private(path, render(wanted))


def _listeners(node: NodePlan, present: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The node's flagd listener, which goes where its plan goes, in front of those that its owner has added."""
    own = {"port": node.flagd_port, "project": PROJECT, "environment": ENVIRONMENT}
    theirs = [section for section in present if section.keys() != own.keys() or not _is_ours(section)]
    taken = any(section.get("port") == node.flagd_port for section in theirs)
    return theirs if taken else [own, *theirs]


def _is_ours(section: Mapping[str, Any]) -> bool:
    return (section["project"], section["environment"]) == (PROJECT, ENVIRONMENT)


def render(values: Mapping[str, Any]) -> str:
    """``values`` as TOML: strings, numbers, booleans, lists of them, and lists of sections."""
    lines, sections = [], []
    for key, value in values.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            sections += [
                ["", f"[[{key}]]", *(f"{k} = {_literal(v)}" for k, v in item.items())] for item in value
            ]
        else:
            lines.append(f"{key} = {_literal(value)}")
    return "\n".join([*lines, *(line for section in sections for line in section)]) + "\n"


def _literal(value: Any) -> str:
    # JSON's strings, numbers, booleans and arrays of them are TOML's, if nothing is written as a surrogate pair.
    return json.dumps(value, ensure_ascii=False)
