"""``vexil flag explain``: the value for a context, the steps that led there, and who wrote what decided.

The one idea: the node says why; this only lays it out, one line for each thing that was looked at, in its order::

    checkout in prod gives off (false): TARGETING_MATCH
      enabled            yes
      rule r1            does not hold: staff
      rule r2            holds: off, by bucket 57 of 100 for "u1": on below 10, off below 100
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vexil.node.cli.client import Client, path
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import compact, plain, say, shortened, show_json, table
from vexil.node.cli.settings import Settings
from vexil.node.cli.values import parse_value
from vexil.sdk.limits import CONTEXT_BYTES_MAX

ENTRIES_SHOWN_MAX = 8
STEP_COLUMNS = 18


@click.command("explain", cls=Command)
@click.argument("key")
@click.argument("attributes", metavar="[NAME=JSON]...", nargs=-1)
@click.option("--env", "environment", metavar="ENV", required=True, help="The environment.")
@click.option("--context", "context_text", metavar="JSON", help="The whole context as an object, or @FILE.")
@pass_settings
def explain(
    settings: Settings, key: str, attributes: tuple[str, ...], environment: str, context_text: str | None
) -> None:
    """Say what a flag gives for a context, and why.

    The context is given by its attributes, for example targetingKey=u1 email=ann@example.com, and with --context.
    """
    context = {} if context_text is None else _context(context_text)
    context |= dict(map(_attribute, attributes))
    where = path("projects", settings.project_name(), "flags", key, "explain")
    with Client.of(settings) as client:
        answer = client.ask(where, {"context": context}, {"environment": environment})
    if settings.as_json:
        show_json(answer.body)
    else:
        _show(answer.body)


def _attribute(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not NAME=JSON, for example targetingKey=u1")
    return name, parse_value(value)


def _context(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        try:
            with Path(text[1:]).open("rb") as file:
                data = file.read(CONTEXT_BYTES_MAX + 1)
            text = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{text[1:]!r} cannot be read: {error}") from None
        if len(data) > CONTEXT_BYTES_MAX:
            raise click.BadParameter(f"the context has more than {CONTEXT_BYTES_MAX} bytes")
    try:
        context = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"the context is not JSON: {error}") from None
    if not isinstance(context, dict):
        raise click.BadParameter("the context is not an object")
    return context


def _show(found: dict[str, Any]) -> None:
    if "value" in found:
        gives = f"{plain(found['variant'])} ({plain(shortened(compact(found['value'])))})"
    else:
        gives = "no value, so the caller's own default applies"
    say(f"{plain(found['key'])} in {plain(found['environment'])} gives {gives}: {plain(found['reason'])}")
    for step in found["trace"]:
        name, said = _step(step)
        say(f"  {plain(name).ljust(STEP_COLUMNS)} {plain(said)}")
    rows = [
        [
            write["field"],
            shortened(_written(write)),
            write["author"],
            _place(write),
            write["time"],
            write["change"],
        ]
        for write in found["decided_by"]
    ]
    if rows:
        say("\ndecided by")
        cells = [["" if cell is None else cell for cell in row] for row in rows]
        say(table(["field", "value", "author", "where", "time", "change"], cells))


def _written(write: dict[str, Any]) -> str:
    if write["change"] is None:
        return "(never written)"
    return compact(write["value"]) + (" (contested)" if write.get("contested") else "")


def _place(write: dict[str, Any]) -> str:
    return "/".join(str(write[name]) for name in ("region", "node") if write[name])


def _step(step: dict[str, Any]) -> tuple[str, str]:
    """What was looked at, and what was found."""
    kind = step["step"]
    if kind == "enabled":
        return "enabled", _enabled(step)
    if kind == "prerequisite":
        if "rest" in step:
            return "needs", f"{step['rest']} more flags: {'all met' if step['met'] else 'not all met'}"
        gave = step["gave"] or "no variant"
        return (
            f"needs {step['flag']}",
            f"{step['variant']}, gave {gave}: {'met' if step['met'] else 'not met'}",
        )
    if kind in {"rule", "targeting"}:
        return f"rule {step['id']}" if kind == "rule" else kind, _rule(step)
    if kind == "error":
        return kind, f"{step['code']}: {step['details']}"
    return kind.replace("_", " "), step["variant"] or "none: the caller's own default"


def _enabled(step: dict[str, Any]) -> str:
    if step["kill"]:
        return "killed"
    if not step["enabled"]:
        return "no"
    if step.get("broken"):
        return f"yes, but the flag cannot be read: {step['broken']}"
    return "yes, but the flag needs itself" if step.get("cycle") else "yes"


def _rule(step: dict[str, Any]) -> str:
    told = f": {step['description']}" if step.get("description") else ""
    if step.get("defect"):
        return f"passed over ({step['defect']}){told}"
    if step["held"] is None:
        return f"fails{told}"
    if not step["held"]:
        return f"does not hold{told}"
    if "gave" not in step:
        return f"holds, and fails{told}"
    gave = "nothing" if step["gave"] is None else step["gave"]
    return f"holds{told or ':'} {'→ ' if told else ''}{gave}{_split(step.get('split'))}"


def _split(split: dict[str, Any] | None) -> str:
    if split is None:
        return ""
    if split["bucket"] is None:
        return f", because {compact(split['by'])} falls into no bucket"
    entries = [f"{entry['variant']} below {entry['to']}" for entry in split["entries"][:ENTRIES_SHOWN_MAX]]
    if len(split["entries"]) > ENTRIES_SHOWN_MAX:
        entries.append("…")
    bucket = f"bucket {split['bucket']} of {split['total']} for {compact(split['by'])}"
    return f", by {bucket}: {', '.join(entries)}"
