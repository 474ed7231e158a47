"""The options that every command and every group takes, wherever they stand on the command line.

The one idea: ``vexil --json flag list``, ``vexil flag --json list`` and ``vexil flag list --json`` mean the same, so
the options are put into each command by its class; the one nearest to the command wins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from vexil.node.cli.errors import CommandFailed
from vexil.node.cli.settings import KEY_VARIABLE, PROJECT_VARIABLE, URL_VARIABLE, Settings

# Keeps the shared options apart from a command's own arguments: `flag get KEY` has a key of another kind.
PREFIX = "settings_"


def settings_of(context: click.Context) -> Settings:
    """The settings of the command line that is being run."""
    return context.ensure_object(Settings)


def pass_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the settings as its first argument."""
    return click.make_pass_decorator(Settings, ensure=True)(command)


def _take(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value:
        setattr(settings_of(context), str(option.name).removeprefix(PREFIX), value)


def _shared(name: str, place: str, **rest: Any) -> click.Option:
    return click.Option([name, PREFIX + place], expose_value=False, callback=_take, **rest)


def shared_options() -> list[click.Parameter]:
    """New option objects: node, key, project and JSON output."""
    return [
        _shared(
            "--node",
            "node",
            metavar="URL",
            help=f"The node to ask: a URL, or a name from cluster.json. [{URL_VARIABLE}]",
        ),
        _shared(
            "--key",
            "key",
            metavar="KEY",
            help=f"The key to show; the variable keeps it out of process lists. [{KEY_VARIABLE}]",
        ),
        _shared("--project", "project", metavar="NAME", help=f"The project to work in. [{PROJECT_VARIABLE}]"),
        _shared("--json", "as_json", is_flag=True, help="Print JSON, errors too."),
    ]


class Command(click.Command):
    """A command with the shared options, whose failures know whether JSON was asked for."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.extend(shared_options())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or what was named of a group."""
        try:
            return super().invoke(ctx)
        except CommandFailed as failure:
            # Each context on the way out may have settings of its own: the one that was told is enough.
            failure.as_json = failure.as_json or settings_of(ctx).as_json
            raise


class Group(Command, click.Group):
    """A group with the shared options; its commands and groups are made of these two classes."""

    command_class = Command
    group_class = type
