"""``vexil history``: who changed what, where and when, newest first, with what was there before.

The one idea: a write that lost a race is still in the history; it is shown with a mark beside the field it lost.
"""

from __future__ import annotations

from typing import Any

import click

from vexil.crdt.schema import EXISTS, FLAG, SEGMENT
from vexil.node.cli.client import Client, path
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import compact, plain, say, shortened, show_json
from vexil.node.cli.settings import Settings

CHANGES_SHOWN = 20
EPOCH = "epoch"
"""What a delete leaves behind for nodes, and no person has written."""


@click.command(cls=Command)
@click.argument("key", required=False)
@click.option("--author", help="Only changes of this author.")
@click.option("--after", metavar="TIME", help="Only changes after this RFC 3339 time.")
@click.option("--until", metavar="TIME", help="Only changes up to this RFC 3339 time.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=CHANGES_SHOWN,
    show_default=True,
    help="At most so many.",
)
@pass_settings
def history(
    settings: Settings, key: str | None, author: str | None, after: str | None, until: str | None, limit: int
) -> None:
    """Show the changes of the project, or of the flag KEY."""
    wanted = {"flag": key, "author": author, "after": after, "until": until}
    params = {name: value for name, value in wanted.items() if value}
    with Client.of(settings) as client:
        changes = list(
            client.pages(path("projects", settings.project_name(), "history"), params, limit=limit)
        )
    if settings.as_json:
        show_json({"items": changes})
        return
    for change in changes:
        _show(change)
    if not changes:
        say("no changes")


def _show(change: dict[str, Any]) -> None:
    place = "/".join(str(change[name]) for name in ("region", "node") if change.get(name))
    parts = [change.get("time") or change.get("hlc"), change.get("author"), place, change.get("id")]
    say("  ".join(plain(part) for part in parts if part))
    if change.get("message"):
        say(f"    “{plain(change['message'])}”")
    for field in change.get("fields") or []:
        said = _field(field)
        if said:
            say(f"    {said}")


def _field(field: dict[str, Any]) -> str:
    """What is said of one field; nothing of what nodes write for themselves."""
    name, removed = field.get("field"), field.get("removed")
    mark = "   ← lost" if field.get("lost") else ""
    if name == EPOCH and field.get("kind") in {FLAG, SEGMENT}:
        return ""
    if name == EXISTS and (removed or isinstance(field.get("after"), dict)):
        done = "deleted" if removed else "created" if field.get("before") is None else "edited"
        # Every edit says again that its object exists; that one is told only if it lost against a delete.
        return f"{_where(field, 'kind', 'name')} is {done}{mark}" if done != "edited" or mark else ""
    after = "(removed)" if removed else _value(field.get("after"))
    return f"{_where(field, 'kind', 'name', 'field')}: {_value(field.get('before'))} → {after}{mark}"


def _where(field: dict[str, Any], *names: str) -> str:
    return " ".join(plain(field[name]) for name in names if field.get(name))


def _value(value: Any) -> str:
    return shortened(plain(compact(value)))
