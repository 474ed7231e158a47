"""The README says what there is: every command of the command line is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from vexil.chaos.cli import chaos
from vexil.node.cli import root

README = Path(__file__).parents[2] / "README.md"


def below(group: click.Group) -> dict[str, click.Command]:
    """The commands of a group by name; with our own plug-in, also where it is not installed."""
    return {**group.commands, "chaos": chaos} if group is root else dict(group.commands)


def commands(command: click.Command, words: tuple[str, ...]) -> Iterator[str]:
    """Every command below ``command`` that does something by itself, as it is typed."""
    if isinstance(command, click.Group):
        for name, inner in below(command).items():
            yield from commands(inner, (*words, name))
        if not command.invoke_without_command:
            return
    yield " ".join(words)


def subcommands(words: str) -> list[str]:
    """The names of the commands below the one that ``words`` spell."""
    command: click.Command = root
    for word in words.split()[1:]:
        assert isinstance(command, click.Group)
        command = below(command)[word]
    return list(below(command)) if isinstance(command, click.Group) else []


@pytest.mark.parametrize("command", list(commands(root, ("vexil",))))
def test_every_command_is_in_the_readme(command: str) -> None:
    longer_ones = subcommands(command)
    # `vexil dev start` does not document `vexil dev`.
    longer = f"(?! (?:{'|'.join(map(re.escape, longer_ones))})\\b)" if longer_ones else ""
    assert re.search(rf"{re.escape(command)}(?![\w-]){longer}", README.read_text(encoding="utf-8"))


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = []

    def look(command: click.Command, words: tuple[str, ...]) -> None:
        if not command.help:
            silent.append(" ".join(words))
        silent.extend(
            f"{' '.join(words)} {option.opts[0]}"
            for option in command.params
            if isinstance(option, click.Option) and not option.help
        )
        if isinstance(command, click.Group):
            for name, inner in below(command).items():
                look(inner, (*words, name))

    look(root, ("vexil",))
    assert silent == []
