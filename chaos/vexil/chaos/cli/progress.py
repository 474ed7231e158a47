"""What a person sees while it runs: one line on standard error that is written over, if that is a terminal."""

from __future__ import annotations

import sys
from typing import Final

import click
import trio

from vexil.node.cli.output import shortened
from vexil.node.cli.transfer import is_terminal

INTERVAL_S: Final = 0.25
WIDTH: Final = 100
_CLEAR: Final = "\r\033[K"


class Progress:
    """The line. Whoever prints something else clears it first."""

    def __init__(self, *, shown: bool | None = None) -> None:
        """``shown``: whether at all; by default, if standard error is a terminal."""
        self._shown = is_terminal() if shown is None else shown
        self._written_s = float("-inf")

    def write(self, text: str) -> None:
        """The line as it is now, unless it has just been written."""
        if self._shown and trio.current_time() - self._written_s >= INTERVAL_S:
            self._written_s = trio.current_time()
            click.echo(f"{_CLEAR}{shortened(text, WIDTH)}", nl=False, err=True)
            sys.stderr.flush()

    def clear(self) -> None:
        """There is no such line any more."""
        if self._shown:
            click.echo(_CLEAR, nl=False, err=True)
            self._written_s = float("-inf")
