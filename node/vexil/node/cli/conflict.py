"""``vexil conflicts``: writes that had not seen each other, and how a person settles them.

The one idea: every live value is shown with who wrote it, where and when; the winner is marked. Settling is a write
that has seen them all: it is refused when the values are others by now.
"""

from __future__ import annotations

from typing import Any

import click

from vexil.crdt.schema import EXISTS
from vexil.node.cli.client import Client, path
from vexil.node.cli.errors import Refused
from vexil.node.cli.options import Group, pass_settings
from vexil.node.cli.output import compact, plain, say, show_json, table
from vexil.node.cli.settings import Settings
from vexil.node.cli.values import parse_value
from vexil.node.cli.written import show_written


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
@pass_settings
def conflicts(settings: Settings, context: click.Context) -> None:
    """Show the conflicts of the project, or resolve one."""
    if context.invoked_subcommand is not None:
        return
    with Client.of(settings) as client:
        found = list(client.pages(path("projects", settings.project_name(), "conflicts")))
    if settings.as_json:
        show_json({"items": found})
        return
    for conflict in found:
        _show(conflict)
    say(f"{len(found)} conflicts" if len(found) != 1 else "1 conflict")
    if found:
        say("settle one with: vexil conflicts resolve ID --choose CHANGE, or --value JSON")


@conflicts.command("resolve")
@click.argument("conflict_id", metavar="ID")
@click.option("--choose", metavar="CHANGE", help="Keep the value of this change.")
@click.option("--value", metavar="JSON", help="Write another value.")
@pass_settings
def resolve(settings: Settings, conflict_id: str, choose: str | None, value: str | None) -> None:
    """Settle a conflict: by choosing one of its changes, or with another value."""
    if (choose is None) == (value is None):
        raise click.UsageError("give either --choose CHANGE or --value JSON")
    document = {"choose": choose} if value is None else {"value": parse_value(value)}
    with Client.of(settings) as client:
        try:
            answer = client.write(
                "POST",
                path("projects", settings.project_name(), "conflicts", conflict_id, "resolve"),
                document,
            )
        except Refused as refused:
            if refused.problem_code == "conflict.changed":
                refused.explained(["its values are others by now: look again with `vexil conflicts`"])
            raise
    show_written(settings, answer, f"conflict {conflict_id} is settled")


def _show(conflict: dict[str, Any]) -> None:
    names = (
        conflict.get("flag") or conflict.get("segment") or conflict.get("object"),
        conflict.get("environment"),
        conflict.get("field"),
    )
    where = " ".join(plain(name) for name in names if name)
    why = f"  ({plain(conflict['reason'])})" if conflict.get("reason") else ""
    say(f"{plain(conflict.get('id'))}  {plain(conflict.get('kind'))}  {where}{why}")
    rows = [
        [
            "winner" if sibling.get("change") == conflict.get("winner") else "",
            sibling.get("change"),
            _value(sibling, conflict.get("field")),
            sibling.get("author"),
            "/".join(str(sibling[name]) for name in ("region", "node") if sibling.get(name)),
            sibling.get("time"),
        ]
        for sibling in conflict.get("siblings") or []
    ]
    if rows:
        cells = [["" if cell is None else cell for cell in row] for row in rows]
        for line in table(["", "change", "value", "author", "from", "time"], cells).splitlines():
            say(f"    {line}")


def _value(sibling: dict[str, Any], field: object) -> str:
    value = sibling.get("value")
    if field == EXISTS and (sibling.get("removed") or (isinstance(value, dict) and "epoch" in value)):
        # A node's own record of an object: that an edit says again that it exists, or that a delete says it does not.
        return "(deleted)" if sibling.get("removed") else "(edited)"
    if sibling.get("removed"):
        return "(removed)"
    return compact(value) if sibling.get("readable", True) else "(written by a newer version)"
