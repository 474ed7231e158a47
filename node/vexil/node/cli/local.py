"""``vexil dev``: the options of the local cluster; the work is in ``vexil.node.dev``."""

from __future__ import annotations

from pathlib import Path

import click

from vexil.node.cli.errors import CommandFailed
from vexil.node.cli.options import Group, pass_settings
from vexil.node.cli.output import say, show_json
from vexil.node.cli.settings import DATA_FOLDER, Settings, find_cluster
from vexil.node.dev.errors import DevError
from vexil.node.dev.layout import plan
from vexil.node.dev.restart import restart
from vexil.node.dev.supervisor import Supervisor
from vexil.node.dev.terminal import say as say_at_once
from vexil.node.dev.terminal import stopping_on_signals

_DATA_KEY = "vexil.node.cli.local.data"
_DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"The data folder.  [default: {DATA_FOLDER}]",
)


@click.group(cls=Group, invoke_without_command=True)
@click.option("--regions", default="eu,us,ap", show_default=True, help="Names of the regions.")
@click.option("--nodes", type=click.IntRange(1), default=2, show_default=True, help="Nodes in each region.")
@_DATA
@click.option(
    "--base-port", type=click.IntRange(1, 65_535), default=8100, show_default=True, help="The first port."
)
@click.pass_context
def dev(context: click.Context, regions: str, nodes: int, data: Path | None, base_port: int) -> None:
    """Run a whole multi-region cluster on this machine, until Ctrl-C."""
    context.meta[_DATA_KEY] = data
    if context.invoked_subcommand is not None:
        return
    names = [region.strip() for region in regions.split(",") if region.strip()]
    try:
        plans = plan(names, nodes=nodes, base_port=base_port)
        with stopping_on_signals() as stop:
            Supervisor(data or Path(DATA_FOLDER), plans, stop=stop, say=say_at_once).run()
    except DevError as error:
        raise _failed(error) from error


@dev.command("start")
@click.argument("name")
@_DATA
@click.pass_context
@pass_settings
def start(settings: Settings, context: click.Context, name: str, data: Path | None) -> None:
    """Bring back the node NAME of a local cluster; returns when it is ready."""
    folder = data or context.meta.get(_DATA_KEY)
    if folder is None:
        cluster = find_cluster(settings.folder)
        folder = cluster.path.parent if cluster else Path(DATA_FOLDER)
    try:
        pid = restart(folder, name)
    except DevError as error:
        raise _failed(error) from error
    if settings.as_json:
        show_json({"name": name, "pid": pid})
    else:
        say(f"{name} is ready (process {pid})")


def _failed(error: DevError) -> CommandFailed:
    """The failure; the lines below the first are the end of a node's log."""
    first, *more = str(error).splitlines()
    return CommandFailed(first, more=[line.removeprefix("    ") for line in more])
