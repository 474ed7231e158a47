"""``vexil import`` and ``vexil export``: flagd documents in and out of one environment.

The one idea: an import is many changes and not atomic, so it must be possible to go on with it. Its idempotency key
is told when the outcome is unknown, and ``--resume KEY`` with the same file writes only what is still missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import click

from vexil.node.cli.client import IMPORT_TIMEOUT_S, Client, path
from vexil.node.cli.errors import EXIT_FAILED, CommandFailed, OutcomeUnknown
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import plain, say, show_json, warn
from vexil.node.cli.settings import Settings

MIB = 1024 * 1024
IMPORT_BYTES_MAX = 256 * MIB
CHUNK_BYTES = 64 * 1024
MISTAKES_SHOWN_MAX = 50


@click.command("import", cls=Command)
@click.argument("file", type=click.File("rb"))
@click.option("--env", "environment", metavar="ENV", required=True, help="The environment to import into.")
@click.option(
    "--mode",
    type=click.Choice(["merge", "replace"]),
    default="merge",
    show_default=True,
    help="merge leaves flags alone that the document does not name; replace takes them out of the environment.",
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, write nothing.")
@click.option("--resume", metavar="KEY", help="Go on with an import whose outcome is unknown.")
@pass_settings
def import_document(
    settings: Settings,
    *,
    file: BinaryIO,
    environment: str,
    mode: str,
    dry_run: bool,
    resume: str | None,
) -> None:
    """Import a flagd document; FILE - is standard input."""
    data = file.read(IMPORT_BYTES_MAX + 1)
    if len(data) > IMPORT_BYTES_MAX:
        raise CommandFailed(f"the document is over {IMPORT_BYTES_MAX // MIB} MiB")
    params = {"environment": environment, "mode": mode, "dry_run": str(dry_run).lower()}
    show = _progress_bar if is_terminal() else _no_progress
    with Client.of(settings) as client:
        try:
            answer = client.write(
                "POST",
                path("projects", settings.project_name(), "import"),
                params=params,
                raw=lambda: show(data),
                raw_bytes=len(data),
                idempotency_key=resume,
                timeout_s=IMPORT_TIMEOUT_S,
            )
        except OutcomeUnknown as unknown:
            key = unknown.document["idempotency_key"]
            unknown.more = (*unknown.more, f"go on with: the same command with --resume {key}")
            raise
    _report(settings, answer.body or {}, environment, dry_run=dry_run)


@click.command("export", cls=Command)
@click.option("--env", "environment", metavar="ENV", required=True, help="The environment to export.")
@pass_settings
def export_document(settings: Settings, environment: str) -> None:
    """Print the flagd document of an environment."""
    with Client.of(settings) as client:
        found = client.read(path("projects", settings.project_name(), "export"), {"environment": environment})
    show_json(found.body)


def is_terminal() -> bool:
    """Whether somebody watches standard error."""
    return sys.stderr.isatty()


def _report(settings: Settings, result: dict[str, Any], environment: str, *, dry_run: bool) -> None:
    errors, warnings = result.get("errors") or [], result.get("warnings") or []
    if settings.as_json:
        show_json(result)
    else:
        for kind, mistakes in (("warning", warnings), ("error", errors)):
            for mistake in mistakes[:MISTAKES_SHOWN_MAX]:
                click.echo(f"{kind}: {plain(_sentence(mistake))}", err=True)
            if len(mistakes) > MISTAKES_SHOWN_MAX:
                click.echo(f"{len(mistakes) - MISTAKES_SHOWN_MAX} more {kind}s: --json shows all", err=True)
        counts = ", ".join(
            f"{_count(result.get(name))} {name}" for name in ("created", "updated", "deleted", "unchanged")
        )
        changes = _count(result.get("changes"))
        would = "would be " if dry_run else ""
        say(f"{plain(environment)}: {would}{counts}, in {changes} change{'s' * (changes != 1)}")
    if errors:
        if not settings.as_json:
            warn(f"{len(errors)} flag{'s' * (len(errors) != 1)} could not be taken in")
        raise click.exceptions.Exit(EXIT_FAILED)


def _sentence(mistake: Any) -> str:
    if not isinstance(mistake, dict):
        return str(mistake)
    where = mistake.get("path") or mistake.get("flag") or mistake.get("key") or ""
    what = mistake.get("detail") or mistake.get("reason") or ""
    return f"{where}: {what}" if where else str(what)


def _count(value: Any) -> int:
    """How many: told by the node as a number or as the list of names."""
    return len(value) if isinstance(value, list) else int(value or 0)


def _no_progress(data: bytes) -> bytes:
    return data


def _progress_bar(data: bytes) -> Iterable[bytes]:
    """``data`` in chunks, with a bar on standard error while they go out."""
    return _chunks_shown(data, click.progressbar)


def _chunks_shown(data: bytes, bar: Callable[..., Any]) -> Iterator[bytes]:
    with bar(length=len(data), label="sending", file=sys.stderr) as shown:
        for start in range(0, len(data), CHUNK_BYTES):
            chunk = data[start : start + CHUNK_BYTES]
            yield chunk
            shown.update(len(chunk))
    click.echo("the node is working on it …", err=True)
