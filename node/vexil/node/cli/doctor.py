"""``vexil doctor``: what is wrong, and what to do about it.

The one idea: it asks every node and compares, as ``vexil status`` does, and it looks into a data folder when it is
given one, whether a node runs on it or not. It changes nothing anywhere, and each thing that it finds comes with the
next step. Exit code 0 means that nothing needs doing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from vexil.node.adapters.folder_check import Problem, examine
from vexil.node.adapters.returned_files import STORE_FILE
from vexil.node.cli.client import Client
from vexil.node.cli.errors import EXIT_FAILED
from vexil.node.cli.findings import Finding, of_nodes
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import plain, say, show_json
from vexil.node.cli.reports import ask_all
from vexil.node.cli.settings import Settings

_ANEW: Final = (
    "stop the node, move its folder aside and keep it (it may hold writes that nobody else has), and start it with an "
    "empty folder: it takes everything from its peers"
)
_ADVICE: Final = {
    "folder.empty": "give --data the folder that `data` in its node.toml names; a node that never ran has none",
    "folder.unreadable": "run this as the user that the node runs as",
    "folder.locked": "nothing: a node runs there",
    "folder.returned": "nothing: the node works through it and removes it at the end",
    "disk.full": "make room: without it the node refuses writes",
    "file.damaged": f"test that disk; {_ANEW}",
    "file.foreign": "give --data the folder of a node",
    "file.version": "run the program that wrote it, or a newer one; a node brings an older file up to date by itself",
    "log.aside": "look into the node's log for `change put aside`: who sent them and why; they are never applied",
    "log.damaged": f"peers give back what this node still owes; to have the audit trail whole again: {_ANEW}",
    "log.chain": f"the folder was copied, or put back from a copy, while a node ran on it: {_ANEW}",
    "log.fork": f"two processes have written under one incarnation: {_ANEW}",
    "log.behind": "start the node: it takes no writes until its peers have given them back",
    "member.damaged": _ANEW,
    "fold.header": _ANEW,
    "fold.damaged": _ANEW,
    "fold.root": "start the node: it finds the cells that are wrong and mends them from its log and its peers; if this "
    f"comes again, {_ANEW}",
    "fold.ahead": "nothing: the node makes it level when it starts",
}


@click.command(cls=Command)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Look into this folder: a node's, or one of a local cluster. Nodes are then asked only if --node is given.",
)
@pass_settings
def doctor(settings: Settings, *, data: Path | None) -> None:
    """Say what is wrong in the cluster, or in a node's data folder, and what to do. Exit 1 if anything is."""
    found: list[Finding] = []
    asked: list[str] = []
    looked_into: list[str] = []
    if data is None or settings.node:
        with Client.of(settings) as client:
            reports = ask_all(client)
        asked = [report.node.name or report.node.url for report in reports]
        found += of_nodes(reports)
    for folder in [] if data is None else _folders(data):
        looked_into.append(str(folder))
        found += [_finding(folder, problem) for problem in examine(folder)]
    found.sort(key=lambda finding: not finding.serious)
    serious = [finding for finding in found if finding.serious]
    if settings.as_json:
        show_json(
            {
                "healthy": not serious,
                "nodes": asked,
                "folders": looked_into,
                "findings": [finding.plain() for finding in found],
            }
        )
    else:
        _show(found, asked, looked_into)
    if serious:
        raise click.exceptions.Exit(EXIT_FAILED)


def _folders(data: Path) -> list[Path]:
    """The node folders that ``data`` is, or has in it."""
    below = sorted(path.parent for path in data.glob(f"*/{STORE_FILE}"))
    return below if below and not (data / STORE_FILE).exists() else [data]


def _finding(folder: Path, problem: Problem) -> Finding:
    advice = _ADVICE[problem.code]
    return Finding(problem.code, str(folder), problem.what, advice, serious=problem.serious)


def _show(found: list[Finding], asked: list[str], looked_into: list[str]) -> None:
    if asked:
        say(f"asked: {plain(' '.join(asked))}")
    if looked_into:
        say(f"looked into: {plain(' '.join(looked_into))}")
    for finding in found:
        say(f"\n{'!' if finding.serious else '-'} {plain(finding.where)}: {plain(finding.what)}")
        say(f"  {plain(finding.advice)}")
    serious = sum(finding.serious for finding in found)
    say(
        f"\n{serious} {'thing needs' if serious == 1 else 'things need'} doing"
        if serious
        else "\nnothing is wrong"
    )
