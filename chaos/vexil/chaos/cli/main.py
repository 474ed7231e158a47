"""The group of commands."""

from __future__ import annotations

import click

from vexil.chaos.cli.check import check
from vexil.chaos.cli.replay import replay
from vexil.chaos.cli.sim import sim
from vexil.node.cli.options import Group


@click.group(cls=Group)
def chaos() -> None:
    """Simulate whole clusters under faults, and judge what comes of it."""


for _command in (sim, replay, check):
    chaos.add_command(_command)
