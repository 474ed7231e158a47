"""``vexil backup``, ``vexil backup verify`` and ``vexil restore``: projects as files, and projects from files.

The one idea: a file is checked to its end wherever it is touched, by the code that a node restores with. So a backup
that was written is one that can be restored, and one that was damaged since is found before anything is sent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from vexil.crdt import schema
from vexil.crdt.hlc import render_time
from vexil.crdt.limits import PROJECT_NAME_BYTES_MAX
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.backup_reading import Backup
from vexil.node.cli.backup_files import SUFFIX, chunks_of, save, verified
from vexil.node.cli.client import IMPORT_TIMEOUT_S, Client, path
from vexil.node.cli.errors import CommandFailed, OutcomeUnknown, Refused
from vexil.node.cli.options import Command, Group, pass_settings
from vexil.node.cli.output import plain, say, show_json
from vexil.node.cli.settings import Settings
from vexil.node.cli.transfer import is_terminal

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group, invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Every project, and the cluster's own `_system`.")
@click.option(
    "--out",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help=f"The file to write; or the folder, in which each project's file is NAME{SUFFIX}.",
)
@click.pass_context
@pass_settings
def backup(settings: Settings, context: click.Context, *, everything: bool, out: Path | None) -> None:
    """Write a project as it is now to a file, or all of them to a folder; or verify a file."""
    if context.invoked_subcommand is not None:
        return
    if out is None:
        raise click.UsageError("where to? Give --out FILE, or --out FOLDER.")
    if everything and settings.project:
        raise click.UsageError("give either --project NAME or --all")
    made = []
    with Client.of(settings) as client:
        for project, target in _targets(settings, client, out, everything=everything):
            with client.stream(path("projects", project, "backup")) as pieces:
                found = save(pieces, target, project=project, show=is_terminal())
            made.append({"file": str(target), **_told(found)})
            if not settings.as_json:
                say(f"{plain(project)} is backed up to {plain(target)}: {_counted(found)}")
    if settings.as_json:
        show_json({"items": made})


@backup.command("verify")
@click.argument("file", type=_FILE)
@pass_settings
def verify(settings: Settings, file: Path) -> None:
    """Read a backup to its end and say what is in it; fails if it is damaged. Asks no node."""
    found = verified(file, show=is_terminal())
    if settings.as_json:
        show_json({"file": str(file), **_told(found)})
        return
    told = _told(found)
    say(f"{plain(file)} is whole: {_counted(found)}")
    say(f"project {plain(told['project'])}, as node {plain(told['node'])} had it at {told['time']}")
    say(f"environments: {plain(', '.join(told['environments']) or '-')}; root hash: {told['root_hash']}")


@click.command("restore", cls=Command)
@click.argument("file", type=_FILE)
@click.option("--dry-run", is_flag=True, help="Have the node check everything, and write nothing.")
@pass_settings
def restore(settings: Settings, file: Path, *, dry_run: bool) -> None:
    """Restore a backup into a project that is not there or has nothing in it: its own, or another --project NAME."""
    show = is_terminal()
    found = verified(file, show=show)
    # Not the project that a variable or a cluster.json names: a file says itself what it is.
    project = settings.project or found.manifest.project
    with Client.of(settings) as client:
        try:
            answer = client.write(
                "POST",
                path("projects", project, "restore"),
                params={"dry_run": str(dry_run).lower()},
                raw=_sender(file, found.size, show=show),
                raw_bytes=found.size,
                timeout_s=IMPORT_TIMEOUT_S,
            )
        except Refused as refused:
            if refused.problem_code == "project.exists":
                refused.explained(
                    ["a backup never goes over a project that lives: give --project NAME for a copy"]
                )
            raise
        except OutcomeUnknown as unknown:
            unknown.more = (
                *unknown.more,
                "or restore the same file again: what is done already is gone on with",
            )
            raise
    _report(settings, answer.body or {}, dry_run=dry_run)


def _targets(
    settings: Settings, client: Client, out: Path, *, everything: bool
) -> Iterator[tuple[str, Path]]:
    """The projects to back up and the file of each."""
    if not everything:
        project = settings.project_name()
        yield project, out / f"{project}{SUFFIX}" if out.is_dir() else out
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(f"{out} cannot be a folder: {error.strerror or error}") from error
    names = [str(item["name"]) for item in client.pages(path("projects"))]
    for project in names:
        # It becomes the name of a file here.
        if not schema.is_name(project, bytes_max=PROJECT_NAME_BYTES_MAX):
            raise CommandFailed(f"the node names a project {plain(project)}, which is no name of one")
    for project in (*names, SYSTEM_PROJECT):
        yield project, out / f"{project}{SUFFIX}"


def _sender(file: Path, size: int, *, show: bool) -> Callable[[], Iterable[bytes]]:
    """Gives the bytes of the file anew for each attempt, with a bar on standard error if somebody watches."""

    def plainly() -> Iterator[bytes]:
        with file.open("rb") as opened:
            yield from chunks_of(opened)

    def watched() -> Iterator[bytes]:
        with click.progressbar(length=size, label="sending", file=sys.stderr) as bar:
            for chunk in plainly():
                yield chunk
                bar.update(len(chunk))
        click.echo("the node is working on it …", err=True)

    return watched if show else plainly


def _told(found: Backup) -> dict[str, Any]:
    manifest = found.manifest
    return {
        "project": manifest.project,
        "node": manifest.node,
        "time": render_time(manifest.time_ms),
        "environments": list(manifest.environments),
        "bucketing": manifest.bucketing,
        "flags": sum(name.startswith(f"{schema.FLAG}/") for name in found.state.objects),
        "objects": len(found.state.objects),
        "changes": found.row_count,
        "idempotency_keys": len(found.keys),
        "root_hash": found.state.root_hash(),
        "bytes": found.size,
    }


def _counted(found: Backup) -> str:
    told = _told(found)
    return (
        f"{told['objects']:,} objects, {told['flags']:,} of them flags, {told['changes']:,} changes of the log, "
        f"{told['bytes']:,} bytes"
    )


def _report(settings: Settings, told: dict[str, Any], *, dry_run: bool) -> None:
    if settings.as_json:
        show_json(told)
        return
    done = "would be" if dry_run else "is"
    project = plain(told.get("project"))
    if told.get("project") == SYSTEM_PROJECT:
        projects = ", ".join(plain(name) for name in told.get("projects") or []) or "none"
        say(f"{project} {done} restored: projects that were not here: {projects}; keys: {told.get('keys')}")
        return
    say(
        f"{project} {done} restored: {told.get('objects'):,} objects, {told.get('flags'):,} of them flags, "
        f"{told.get('changes'):,} changes of the log"
    )
    if told.get("copy"):
        say(
            "it is a copy beside what it was made from: without its log, and without what was kept for a person"
        )
