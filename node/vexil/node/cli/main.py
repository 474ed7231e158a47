"""The root of the command line: its groups, those of plug-ins, and how it is started from the console script."""

from __future__ import annotations

import io
import sys

import click

from vexil.node.cli.backup import backup, restore
from vexil.node.cli.cluster import node, status
from vexil.node.cli.conflict import conflicts
from vexil.node.cli.doctor import doctor
from vexil.node.cli.flag import flag
from vexil.node.cli.history import history
from vexil.node.cli.key import key
from vexil.node.cli.local import dev
from vexil.node.cli.member import member
from vexil.node.cli.plugins import ExtensibleGroup
from vexil.node.cli.project import project
from vexil.node.cli.segment import segment
from vexil.node.cli.transfer import export_document, import_document


@click.group(cls=ExtensibleGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vexil", prog_name="vexil")
def root() -> None:
    """Feature flags that every region can write to at once.

    Exit codes: 0 done, 1 failed, 2 usage, 3 outcome unknown.
    """


for _command in (
    dev,
    node,
    status,
    doctor,
    flag,
    segment,
    import_document,
    export_document,
    backup,
    restore,
    history,
    conflicts,
    key,
    member,
    project,
):
    root.add_command(_command)


def main() -> None:
    """Run the command line of this process; ends it with the command's exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets it escaped; a name must never end a command half-way.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    root(prog_name="vexil")
