"""``vexil segment``: named sets of users.

The one idea: members are single elements. A segment may have a million of them and many authors, so adding and
removing one never reads or sends the others.
"""

from __future__ import annotations

import json
from typing import Any

import click

from vexil.node.cli.client import Client, path
from vexil.node.cli.errors import CommandFailed, Refused
from vexil.node.cli.options import Group, pass_settings
from vexil.node.cli.output import compact, plain, say, show_json, table
from vexil.node.cli.settings import Settings
from vexil.node.cli.values import member_names
from vexil.node.cli.written import made_against, show_written

MEMBERS_SHOWN_MAX = 20


@click.group(cls=Group)
def segment() -> None:
    """Read and edit segments."""


@segment.command("list")
@pass_settings
def list_segments(settings: Settings) -> None:
    """List the segments of the project."""
    with Client.of(settings) as client:
        found = list(client.pages(path("projects", settings.project_name(), "segments")))
    if settings.as_json:
        show_json({"items": found})
        return
    rows = [
        [item.get("key"), _count(item, "members"), _count(item, "rules"), item.get("description") or ""]
        for item in found
    ]
    say(table(["key", "members", "rules", "description"], rows) if rows else "no segments")


@segment.command("get")
@click.argument("key")
@pass_settings
def get_segment(settings: Settings, key: str) -> None:
    """Show one segment."""
    with Client.of(settings) as client:
        found = client.read(_path(settings, key)).body
    if settings.as_json:
        show_json(found)
        return
    members, rules = found.get("members") or [], found.get("rules") or []
    rows = [["key", found.get("key")], ["description", found.get("description") or ""]]
    rows += [["members", len(members)], *(["", member] for member in members[:MEMBERS_SHOWN_MAX])]
    rows += [[f"rule {rule.get('id')}", compact(rule.get("if"))] for rule in rules]
    say(table(["field", "value"], rows))
    if len(members) > MEMBERS_SHOWN_MAX:
        say(f"{len(members) - MEMBERS_SHOWN_MAX} more members: --json shows all")


@segment.command("put")
@click.argument("key")
@click.option("--description", help="What the segment is.")
@click.option("--member", "members", multiple=True, help="A member; all members are replaced.")
@click.option(
    "--rule", "rules", metavar="JSON", multiple=True, help='A rule, {"if": …}; all rules are replaced.'
)
@click.option("--file", "file", type=click.File("rb"), help="The whole segment as JSON; - is standard input.")
@pass_settings
def put_segment(
    settings: Settings,
    key: str,
    description: str | None,
    members: tuple[str, ...],
    rules: tuple[str, ...],
    file: Any,
) -> None:
    """Create a segment, or replace it by what is given. To add or remove members use add and remove."""
    document: dict[str, Any] = {}
    if file is not None:
        document = _object(file.read(), "--file")
    if description is not None:
        document["description"] = description
    if members:
        document["members"] = member_names(members)
    if rules:
        document["rules"] = [_object(text, "--rule") for text in rules]
    with Client.of(settings) as client:
        seen, etag = None, None
        try:
            answer = client.read(_path(settings, key))
            seen, etag = answer.body, answer.etag
        except Refused as refused:
            if refused.status != 404:
                raise
        with made_against(seen):
            written = client.write("PUT", _path(settings, key), document, etag=etag)
    show_written(settings, written, f"segment {key} is {'created' if seen is None else 'replaced'}")


@segment.command("add")
@click.argument("key")
@click.argument("members", metavar="MEMBER...", nargs=-1, required=True)
@pass_settings
def add_members(settings: Settings, key: str, members: tuple[str, ...]) -> None:
    """Add members; those that are in it already stay."""
    _members(settings, key, "add", members, "added to")


@segment.command("remove")
@click.argument("key")
@click.argument("members", metavar="MEMBER...", nargs=-1, required=True)
@pass_settings
def remove_members(settings: Settings, key: str, members: tuple[str, ...]) -> None:
    """Remove members."""
    _members(settings, key, "remove", members, "removed from")


@segment.command("delete")
@click.argument("key")
@pass_settings
def delete_segment(settings: Settings, key: str) -> None:
    """Delete a segment."""
    with Client.of(settings) as client:
        seen = client.read(_path(settings, key))
        with made_against(seen.body):
            answer = client.write("DELETE", _path(settings, key), etag=seen.etag)
    show_written(settings, answer, f"segment {key} is deleted")


def _members(settings: Settings, key: str, verb: str, members: tuple[str, ...], done: str) -> None:
    names = member_names(members)
    document = {"add": [], "remove": [], verb: names}
    with Client.of(settings) as client:
        answer = client.write("POST", _path(settings, key, "members"), document)
    what = plain(names[0]) if len(names) == 1 else f"{len(names)} members"
    show_written(settings, answer, f"{what} {done} segment {key}")


def _path(settings: Settings, key: str, *rest: str) -> str:
    return path("projects", settings.project_name(), "segments", key, *rest)


def _count(item: dict[str, Any], name: str) -> object:
    """How many there are, told by the node as a list or as a number."""
    value = item.get(name, item.get(f"{name}_count"))
    return len(value) if isinstance(value, list) else value if value is not None else ""


def _object(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CommandFailed(f"{where} is not a JSON object")
    return value
