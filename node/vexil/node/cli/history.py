"""``vexil history``: who changed what, where and when, newest first, with what was there before.

The one idea: a write that lost a race is still in the history; it is shown with a mark beside the field it lost.
"""

from __future__ import annotations

from typing import Any

import click

from vexil.node.cli.client import Client, path
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import compact, plain, say, shortened, show_json
from vexil.node.cli.settings import Settings

CHANGES_SHOWN = 20


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
        if not _is_touch(field):
            say(f"    {_field(field)}")


def _is_touch(field: dict[str, Any]) -> bool:
    """Whether this only says again that the object exists, as each edit does; a create or a delete says more."""
    return (
        field.get("field") == "exists"
        and field.get("before") is not None
        and field.get("after") is not None
        and not field.get("lost")
    )


def _field(field: dict[str, Any]) -> str:
    names = [field.get(name) for name in ("kind", "name", "field")]
    where = " ".join(plain(name) for name in names if name)
    after = "(removed)" if field.get("removed") else _value(field.get("after"))
    mark = "   ← lost" if field.get("lost") else ""
    return f"{where}: {_value(field.get('before'))} → {after}{mark}"


def _value(value: Any) -> str:
    return shortened(plain(compact(value)))
