"""``vexil flag``: list, read, create, edit, switch, kill and delete flags.

The one idea: an edit is made against what its author saw. Each command that changes something existing first reads
the flag and sends its ``ETag``, so two people never overwrite each other silently. A kill is the exception: it needs
no look, no token and no agreement, and always goes out.
"""

from __future__ import annotations

from typing import Any

import click

from vexil.node.cli.client import Answer, Client, path
from vexil.node.cli.explain import explain
from vexil.node.cli.options import Group, pass_settings
from vexil.node.cli.output import compact, plain, say, show_json, table, warn
from vexil.node.cli.settings import Settings
from vexil.node.cli.values import (
    element_operations,
    parse_assignment,
    parse_variant,
    patch_of,
    split_elements,
)
from vexil.node.cli.written import made_against, show_written

TYPES = ("boolean", "string", "integer", "float", "object")
_ENVIRONMENT = click.option("--env", "environment", metavar="ENV", required=True, help="The environment.")
_MESSAGE = click.option("--message", "-m", default="", help="Why; kept in the history.")


@click.group(cls=Group)
def flag() -> None:
    """Read and edit flags."""


flag.add_command(explain)


@flag.command("list")
@click.option("--tag", help="Only flags with this tag.")
@click.option("--query", "-q", help="Only flags with this text in their key or description.")
@click.option("--archived/--not-archived", default=None, help="Only archived flags, or only the others.")
@pass_settings
def list_flags(settings: Settings, *, tag: str | None, query: str | None, archived: bool | None) -> None:
    """List the flags of the project."""
    wanted = {"tag": tag, "q": query, "archived": None if archived is None else str(archived).lower()}
    params = {name: value for name, value in wanted.items() if value is not None}
    with Client.of(settings) as client:
        flags = list(client.pages(path("projects", settings.project_name(), "flags"), params))
    if settings.as_json:
        show_json({"items": flags})
        return
    names = sorted({name for item in flags for name in item.get("environments") or {}})
    rows = [
        [
            item.get("key"),
            item.get("type"),
            *(_state(item["environments"].get(name) or {}) for name in names),
            " ".join(item.get("tags") or []),
            _remarks(item),
        ]
        for item in flags
    ]
    say(table(["key", "type", *names, "tags", "remarks"], rows) if rows else "no flags")


@flag.command("get")
@click.argument("key")
@pass_settings
def get_flag(settings: Settings, key: str) -> None:
    """Show one flag."""
    with Client.of(settings) as client:
        found = _read(client, settings, key)
    if settings.as_json:
        show_json(found.body)
    else:
        _show(found.body)


@flag.command("create")
@click.argument("key")
@click.option(
    "--type",
    "flag_type",
    type=click.Choice(TYPES),
    default="boolean",
    show_default=True,
    help="What its values are; it cannot change later.",
)
@click.option(
    "--variant",
    "variants",
    metavar="NAME=JSON",
    multiple=True,
    help="A variant; a boolean flag without any gets on=true and off=false.",
)
@click.option("--description", default="", help="What the flag is for.")
@click.option("--owner", default="", help="Who answers for it.")
@click.option("--tag", "tags", multiple=True, help="A tag.")
@click.option("--client-visible", is_flag=True, help="Client keys may read it.")
@pass_settings
def create_flag(
    settings: Settings,
    *,
    key: str,
    flag_type: str,
    variants: tuple[str, ...],
    description: str,
    owner: str,
    tags: tuple[str, ...],
    client_visible: bool,
) -> None:
    """Create a flag. It is off everywhere until it is switched on."""
    values: dict[str, Any] = {}
    for text in variants:
        name, value = parse_variant(text, flag_type)
        if name in values:
            raise click.UsageError(f"variant {name!r} is given twice")
        values[name] = value
    if not values and flag_type == "boolean":
        values = {"on": True, "off": False}
    document: dict[str, Any] = {"key": key, "type": flag_type, "variants": values}
    given = {"description": description, "owner": owner, "tags": list(tags), "client_visible": client_visible}
    document |= {name: value for name, value in given.items() if value}
    with Client.of(settings) as client:
        answer = client.write("POST", path("projects", settings.project_name(), "flags"), document)
    show_written(settings, answer, f"flag {key} is created")


@flag.command("set")
@click.argument("key")
@click.argument("assignments", metavar="PATH=JSON...", nargs=-1, required=True)
@click.option("--env", "environment", metavar="ENV", help="The environment that the paths are of.")
@_MESSAGE
@pass_settings
def set_fields(
    settings: Settings, key: str, assignments: tuple[str, ...], environment: str | None, message: str
) -> None:
    """Change fields of a flag; all of them in one change.

    A path is dotted (variants.red) or a JSON pointer (/variants/v1.2). null removes. tags, rules and prerequisites
    take += and -= for single elements: tags+=web, rules-=r1.
    """
    whole, elements = split_elements([parse_assignment(text) for text in assignments])
    patch = patch_of(whole, environment)
    project = settings.project_name()
    with Client.of(settings) as client:
        seen = _read(client, settings, key)
        operations: list[dict[str, Any]] = []
        for assignment in elements:
            operations += element_operations(assignment, seen.body, environment, etag=seen.etag)
        with made_against(seen.body):
            if operations or message:
                if patch:
                    first = {"op": "patch", "flag": key, "patch": patch}
                    operations.insert(0, first | ({"if_match": seen.etag} if seen.etag else {}))
                document = {"message": message, "operations": operations}
                answer = client.write("POST", path("projects", project, "changes"), document)
            elif patch:
                answer = client.write("PATCH", path("projects", project, "flags", key), patch, etag=seen.etag)
            else:
                # tags=[…] that are there already: nothing is asked of the node.
                answer = Answer({"change": None}, seen.etag, behind=False, node=seen.node)
    show_written(settings, answer, f"flag {key} is changed")


@flag.command("on")
@click.argument("key")
@_ENVIRONMENT
@pass_settings
def switch_on(settings: Settings, key: str, environment: str) -> None:
    """Switch a flag on in one environment."""
    _switch(settings, key, environment, enabled=True)


@flag.command("off")
@click.argument("key")
@_ENVIRONMENT
@pass_settings
def switch_off(settings: Settings, key: str, environment: str) -> None:
    """Switch a flag off in one environment."""
    _switch(settings, key, environment, enabled=False)


@flag.command("kill")
@click.argument("key")
@_ENVIRONMENT
@pass_settings
def kill(settings: Settings, key: str, environment: str) -> None:
    """Kill a flag in one environment: off wins over every concurrent edit, in every region."""
    with Client.of(settings) as client:
        answer = client.write("POST", _switch_path(settings, key, environment, "kill"))
    show_written(settings, answer, f"flag {key} is killed in {environment}")


@flag.command("unkill")
@click.argument("key")
@_ENVIRONMENT
@pass_settings
def unkill(settings: Settings, key: str, environment: str) -> None:
    """Clear the kill of a flag that this command has seen."""
    with Client.of(settings) as client:
        seen = _read(client, settings, key)
        with made_against(seen.body):
            answer = client.write("POST", _switch_path(settings, key, environment, "unkill"), etag=seen.etag)
    show_written(settings, answer, f"flag {key} is not killed in {environment} any more")
    state = _environment(seen.body, environment)
    if not settings.as_json and not state.get("enabled"):
        say(f"it is still off: vexil flag on {plain(key)} --env {plain(environment)}")


@flag.command("delete")
@click.argument("key")
@pass_settings
def delete_flag(settings: Settings, key: str) -> None:
    """Delete a flag."""
    with Client.of(settings) as client:
        seen = _read(client, settings, key)
        with made_against(seen.body):
            answer = client.write(
                "DELETE", path("projects", settings.project_name(), "flags", key), etag=seen.etag
            )
    show_written(settings, answer, f"flag {key} is deleted")


def _read(client: Client, settings: Settings, key: str) -> Answer:
    return client.read(path("projects", settings.project_name(), "flags", key))


def _switch_path(settings: Settings, key: str, environment: str, verb: str) -> str:
    return path("projects", settings.project_name(), "flags", key, "environments", environment, verb)


def _switch(settings: Settings, key: str, environment: str, *, enabled: bool) -> None:
    patch = {"environments": {environment: {"enabled": enabled}}}
    with Client.of(settings) as client:
        seen = _read(client, settings, key)
        with made_against(seen.body):
            answer = client.write(
                "PATCH", path("projects", settings.project_name(), "flags", key), patch, etag=seen.etag
            )
    show_written(settings, answer, f"flag {key} is {'on' if enabled else 'off'} in {environment}")
    state = _environment(seen.body, environment)
    if enabled and state.get("kill"):
        warn(
            f"it is killed in {environment} and serves nothing until: vexil flag unkill {key} --env {environment}"
        )
    elif enabled and state.get("default") is None and not state.get("rules") and not state.get("targeting"):
        warn(
            f"it has no default in {environment}, so callers get their own default: vexil flag set … default=on"
        )


def _environment(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = (document.get("environments") or {}).get(name) or {}
    return found


def _state(environment: dict[str, Any]) -> str:
    if environment.get("kill"):
        return "killed"
    if not environment.get("enabled"):
        return "off"
    count = len(environment.get("rules") or [])
    rules = (
        "targeting" if environment.get("targeting") else f"{count} rule{'s' * (count != 1)}" if count else ""
    )
    served = environment.get("default")
    return " ".join(
        part for part in ("on:", plain("(code default)" if served is None else served), rules) if part
    )


def _remarks(item: dict[str, Any]) -> str:
    remarks = []
    if item.get("archived"):
        remarks.append("archived")
    if item.get("needs_review"):
        remarks.append("needs review")
    count = len(item.get("conflicts") or [])
    if count:
        remarks.append(f"{count} conflict{'s' * (count != 1)}")
    return ", ".join(remarks)


def _show(document: dict[str, Any]) -> None:
    fields = [
        ("key", document.get("key")),
        ("type", document.get("type")),
        ("description", document.get("description")),
        ("owner", document.get("owner")),
        ("tags", " ".join(document.get("tags") or [])),
        ("client visible", "yes" if document.get("client_visible") else "no"),
        ("remarks", _remarks(document)),
        *((f"variant {name}", compact(value)) for name, value in (document.get("variants") or {}).items()),
        *((f"needs {item.get('flag')}", item.get("variant")) for item in document.get("prerequisites") or []),
    ]
    say(table(["field", "value"], [[name, value] for name, value in fields if value not in {None, ""}]))
    for name, environment in (document.get("environments") or {}).items():
        say(
            f"\n{plain(name)}: {_state(environment)}, off variant: {plain(environment.get('off_variant') or '-')}"
        )
        rules = environment.get("rules") or []
        if rules:
            rows = [
                [
                    rule.get("id"),
                    compact(rule.get("if")),
                    rule["serve"] if "serve" in rule else compact(rule.get("split")),
                    rule.get("description"),
                ]
                for rule in rules
            ]
            say(table(["rule", "if", "serve", "description"], [[cell or "" for cell in row] for row in rows]))
        if environment.get("targeting"):
            say(f"targeting: {plain(compact(environment['targeting']))}")
        if environment.get("metadata"):
            say(f"metadata: {plain(compact(environment['metadata']))}")
