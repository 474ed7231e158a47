"""``vexil project``: the projects of the cluster and their environments.

The one idea: an environment belongs to a project; naming a project's environments again adds those that are new.
"""

from __future__ import annotations

from typing import Any

import click

from vexil.node.cli.client import Client, path
from vexil.node.cli.errors import Refused
from vexil.node.cli.options import Group, pass_settings
from vexil.node.cli.output import say, show_json, table
from vexil.node.cli.settings import Settings
from vexil.node.cli.written import show_written


@click.group(cls=Group)
def project() -> None:
    """List and create projects."""


@project.command("list")
@pass_settings
def list_projects(settings: Settings) -> None:
    """List the projects that the key may see."""
    with Client.of(settings) as client:
        found = list(client.pages(path("projects")))
    if settings.as_json:
        show_json({"items": found})
        return
    rows = [
        [_name(item), " ".join(item.get("environments") or []), item.get("bucketing") or ""] for item in found
    ]
    say(table(["project", "environments", "bucketing"], rows) if rows else "no projects")


@project.command("create")
@click.argument("name")
@click.option("--env", "environments", metavar="ENV", multiple=True, required=True, help="An environment.")
@click.option("--bucketing", help="The generation of flagd's fractional to bucket by.")
@pass_settings
def create_project(
    settings: Settings, name: str, environments: tuple[str, ...], bucketing: str | None
) -> None:
    """Create a project, or add environments to it."""
    with Client.of(settings) as client:
        present: list[str] = []
        etag = None
        try:
            seen = client.read(path("projects", name))
            present, etag = list(seen.body.get("environments") or []), seen.etag
        except Refused as refused:
            if refused.status != 404:
                raise
        document: dict[str, Any] = {"environments": list(dict.fromkeys([*present, *environments]))}
        if bucketing:
            document["bucketing"] = bucketing
        answer = client.write("PUT", path("projects", name), document, etag=etag)
    show_written(settings, answer, f"project {name} has {', '.join(document['environments'])}")


def _name(item: dict[str, Any]) -> object:
    return item.get("name") or item.get("key") or item.get("project")
