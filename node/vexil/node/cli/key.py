"""``vexil key``: create, list and revoke keys.

The one idea: a key is shown once, when it is made; only its hash is stored. Revoking is for ever.
"""

from __future__ import annotations

from typing import Any

import click

from vexil.node.cli.client import Client, path
from vexil.node.cli.errors import CommandFailed
from vexil.node.cli.options import Group, pass_settings
from vexil.node.cli.output import plain, say, show_json, table
from vexil.node.cli.settings import Settings
from vexil.node.cli.written import show_written


@click.group(cls=Group)
def key() -> None:
    """Create, list and revoke keys."""


@key.command("create")
@click.option(
    "--kind",
    type=click.Choice(["admin", "server", "client"]),
    required=True,
    help="admin: API and console; server: one environment; client: what of it clients may see.",
)
@click.option("--env", "environment", metavar="ENV", help="The environment of a server or client key.")
@click.option("--role", type=click.Choice(["viewer", "editor", "owner"]), help="What an admin key may do.")
@click.option("--all-projects", is_flag=True, help="An admin key for every project.")
@click.option("--name", default="", help="What the key is for.")
@pass_settings
def create_key(
    settings: Settings,
    *,
    kind: str,
    environment: str | None,
    role: str | None,
    all_projects: bool,
    name: str,
) -> None:
    """Create a key for the project. It is printed once and cannot be read again."""
    document: dict[str, Any] = {"kind": kind}
    if kind == "admin":
        if environment:
            raise click.UsageError("an admin key has no environment: leave --env out")
        if role is None:
            raise click.UsageError("an admin key needs --role")
        document |= {"role": role}
    else:
        if not environment:
            raise click.UsageError(f"a {kind} key needs --env")
        if role is not None or all_projects:
            raise click.UsageError("--role and --all-projects are for admin keys")
        document |= {"environment": environment}
    if not all_projects:
        document["project"] = settings.project_name()
    if name:
        document["name"] = name
    with Client.of(settings) as client:
        body = client.write("POST", path("keys"), document).body
    if body.get("key") is None:
        # The first answer was lost and the node has repeated it: it knows no more than the hash.
        raise CommandFailed(
            f"key {body.get('id')} was made, but its text was lost with the first answer",
            more=[f"revoke it with `vexil key revoke {body.get('id')}` and create another one"],
            document={"id": body.get("id")},
        )
    if settings.as_json:
        show_json(body)
        return
    # Alone on standard output: `KEY=$(vexil key create …)` is what people write.
    say(plain(body.get("key")))
    click.echo(f"{kind} key {plain(body.get('id'))}: it is not shown again", err=True)


@key.command("list")
@pass_settings
def list_keys(settings: Settings) -> None:
    """List the keys: everything but the keys themselves."""
    with Client.of(settings) as client:
        found = list(client.pages(path("keys")))
    if settings.as_json:
        show_json({"items": found})
        return
    rows = [
        [
            item.get("id"),
            item.get("kind"),
            item.get("role") or "",
            item.get("project") or "(all)",
            item.get("environment") or "",
            item.get("name") or "",
            "revoked" if item.get("revoked") else "valid",
        ]
        for item in found
    ]
    headings = ["id", "kind", "role", "project", "environment", "name", "state"]
    say(table(headings, rows) if rows else "no keys")


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@pass_settings
def revoke_key(settings: Settings, key_id: str) -> None:
    """Revoke a key for ever."""
    with Client.of(settings) as client:
        answer = client.write("DELETE", path("keys", key_id))
    show_written(settings, answer, f"key {key_id} is revoked")
