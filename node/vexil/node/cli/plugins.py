"""Commands that other packages bring: the entry points of the group ``vexil.commands``.

The one idea: the command line does not know who extends it, so it depends on nobody. A plug-in is loaded when it is
asked for; one that cannot be loaded is a command that says so, and is in no other command's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

import click

from vexil.node.cli.errors import CommandFailed
from vexil.node.cli.options import Command, Group
from vexil.node.entry import is_third_party

ENTRY_POINTS: Final = "vexil.commands"
OUR_DISTRIBUTION: Final = "vexil"
"""Its plug-ins need the extra of their own name."""


def installed() -> Iterable[EntryPoint]:
    """The plug-ins of this environment."""
    return entry_points(group=ENTRY_POINTS)


def load(point: EntryPoint) -> click.Command:
    """The command that ``point`` names; if it cannot be had, a command of its name that fails and says why."""
    try:
        command = point.load()
    except Exception as error:  # noqa: BLE001 - whatever the import of a stranger's module raises
        return _unusable(point, f"{type(error).__name__}: {error}", [*_where(error), *_remedy(point, error)])
    if not isinstance(command, click.Command):
        return _unusable(point, f"{point.value} is no command", _remedy(point, None))
    return command


class ExtensibleGroup(Group):
    """A group whose commands are its own and those of ``points``; its own ones win."""

    def __init__(
        self, *arguments: Any, points: Callable[[], Iterable[EntryPoint]] = installed, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._points = points

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in order."""
        return sorted({*super().list_commands(ctx), *self._by_name()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, which may be loaded only now."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = self._by_name().get(cmd_name)
        return load(point) if point is not None else None

    def _by_name(self) -> Mapping[str, EntryPoint]:
        return {point.name: point for point in self._points()}


def _unusable(point: EntryPoint, reason: str, more: Iterable[str]) -> click.Command:
    def fail() -> None:
        raise CommandFailed(f"the command {point.name!r} cannot be loaded: {reason}", more=tuple(more))

    return Command(
        point.name,
        callback=fail,
        help="(It cannot be loaded; call it to hear why.)",
        add_help_option=False,
        # Whatever it is called with, the answer is the same.
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


def _where(error: Exception) -> list[str]:
    """The place in the plug-in that failed: a mistake of its author's is found without a traceback."""
    frames = [frame for frame in extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    frames = [frame for frame in frames if Path(frame.filename) != Path(__file__)]
    return [f"at {frames[-1].filename}, line {frames[-1].lineno}"] if frames else []


def _remedy(point: EntryPoint, error: Exception | None) -> list[str]:
    distribution = point.dist.name if point.dist is not None else ""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if distribution == OUR_DISTRIBUTION and is_third_party(missing):
        return [f"it needs the extra {point.name!r}: pip install '{OUR_DISTRIBUTION}[{point.name}]'"]
    if distribution and distribution != OUR_DISTRIBUTION:
        return [f"it comes with {distribution}, which is not part of Vexil"]
    return []
