"""``vexil member``: who belongs to the cluster, adding a node, evicting one, and bringing one back.

The one idea: a node joins by being started with the peer URLs of members as its seeds, so adding one means writing its
``node.toml``. In a local cluster the node is made and started as well.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vexil.node.cli.client import Client, path
from vexil.node.cli.errors import CommandFailed
from vexil.node.cli.options import Group, pass_settings
from vexil.node.cli.output import plain, say, show_json, table
from vexil.node.cli.settings import URL_VARIABLE, Settings, find_cluster
from vexil.node.cli.written import show_written
from vexil.node.config import ConfigError, NodeConfig
from vexil.node.dev.added import add_node
from vexil.node.dev.errors import DevError
from vexil.node.dev.folder import render
from vexil.node.dev.restart import restart

EVICTED = "evicted"
SECRET_FILE = "cluster.secret"  # noqa: S105 - the name of a file, not a secret


@click.group(cls=Group)
def member() -> None:
    """List, add, evict and bring back the nodes of a cluster."""


@member.command("list")
@pass_settings
def list_members(settings: Settings) -> None:
    """List the members as one node sees them, and those that were evicted."""
    with Client.of(settings) as client:
        found = list(client.pages(path("members")))
    if settings.as_json:
        show_json({"items": found})
        return
    rows = [
        [
            item.get("node"),
            item.get("region"),
            item.get("state"),
            item.get("url"),
            _ago(item.get("last_heard_ms")),
            _ago(item.get("announced_ms")),
            "waits for it" if item.get("blocks_garbage") else "",
        ]
        for item in found
    ]
    headings = ["node", "region", "state", "url", "heard", "announced", "garbage"]
    say(table(headings, rows) if rows else "no members")


@member.command("add")
@click.argument("name")
@click.option("--region", required=True, help="The region of the new node.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the node.toml there, and start nothing.",
)
@pass_settings
def add(settings: Settings, *, name: str, region: str, out: Path | None) -> None:
    """Add the node NAME: write its node.toml. In a local cluster it is started as well."""
    named = settings.node or settings.environment.get(URL_VARIABLE)
    cluster = find_cluster(settings.folder)
    if out is None and not named and cluster is not None:
        _add_here(settings, cluster.path.parent, name, region)
        return
    with Client.of(settings) as client:
        found = list(client.pages(path("members")))
    text = _configuration(name, region, found)
    if out is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise CommandFailed(f"{out} cannot be written: {error.strerror or error}") from error
    click.echo(
        f"beside it goes the cluster's secret as {SECRET_FILE}; then: vexil node --config "
        f"{out if out is not None else 'node.toml'}",
        err=True,
    )


@member.command("evict")
@click.argument("name")
@pass_settings
def evict(settings: Settings, *, name: str) -> None:
    """Evict the member NAME for good: what it has not sent comes back only when it returns as a new member."""
    with Client.of(settings) as client:
        answer = client.write("POST", path("members", name, "evict"))
    show_written(settings, answer, f"{name} is evicted")


@member.command("return")
@pass_settings
def come_back(settings: Settings) -> None:
    """Bring the evicted node given by --node back, as a new member from an empty state."""
    if not (settings.node or settings.environment.get(URL_VARIABLE)):
        raise click.UsageError(
            f"which node comes back? Give --node URL or {URL_VARIABLE}: its own, no other's."
        )
    with Client.of(settings) as client:
        body = client.write("POST", path("members", "return")).body
    if settings.as_json:
        show_json(body)
    else:
        say(f"{plain(body.get('node'))} begins anew: `vexil status` shows when it is ready")


def _add_here(settings: Settings, data: Path, name: str, region: str) -> None:
    try:
        node = add_node(data, name, region)
        pid = restart(data, name)
    except DevError as error:
        first, *more = str(error).splitlines()
        raise CommandFailed(first, more=[line.removeprefix("    ") for line in more]) from error
    if settings.as_json:
        show_json({"name": name, "region": region, "url": node.url, "pid": pid})
    else:
        say(f"{name} is a member and ready at {node.url} (process {pid})")


def _configuration(name: str, region: str, members: list[dict[str, Any]]) -> str:
    """The ``node.toml`` of a new node. Raises UsageError for what cannot be one, CommandFailed for a living member."""
    alive = [item for item in members if item.get("state") != EVICTED]
    if any(item.get("node") == name for item in alive):
        raise CommandFailed(f"{name} is a member already: evict it first, or choose another name")
    seeds = sorted({str(item["peer_url"]) for item in alive if item.get("peer_url")})
    if not seeds:
        raise CommandFailed("no member says where its peers find it: there is nobody to join")
    values: dict[str, Any] = {
        "name": name,
        "region": region,
        "data": ".",
        "http_port": 8100,
        "peer_port": 8101,
        "cluster_secret_file": SECRET_FILE,
        "seeds": seeds,
    }
    try:
        NodeConfig.parse(values, folder=Path.cwd())
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    return render(values)


def _ago(age_ms: Any) -> str:
    return "never" if age_ms is None else f"{age_ms} ms ago"
