"""How answers look: aligned tables and short sentences for people, stable JSON for programs.

The one idea: what comes from a node is data, never layout. A description with a line break, a tab or a terminal
escape sequence in it is shown escaped, and a wide character counts as the two columns that it takes.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import click

COLUMN_GAP = "  "
CELL_WIDTH_MAX = 60
_ELLIPSIS = "…"


def plain(text: object) -> str:
    """``text`` without anything that moves a terminal's cursor: control and format characters are escaped."""
    return "".join(
        repr(character)[1:-1]
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else character
        for character in str(text)
    )


def compact(value: object) -> str:
    """``value`` as JSON on one line, in the characters it was written with."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def width(text: str) -> int:
    """The terminal columns that ``text`` takes."""
    return sum(_columns(character) for character in text)


def shortened(text: str, columns: int = CELL_WIDTH_MAX) -> str:
    """``text`` cut to ``columns`` terminal columns, with an ellipsis where something is missing."""
    if width(text) <= columns:
        return text
    kept = ""
    for character in text:
        if width(kept) + _columns(character) + 1 > columns:
            break
        kept += character
    return kept + _ELLIPSIS


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The lines of a table: columns as wide as their widest cell, no trailing space, headings in capitals."""
    cells = [[heading.upper() for heading in headings]]
    cells += [[shortened(plain(cell)) or "-" for cell in row] for row in rows]
    widths = [max(width(row[column]) for row in cells) for column in range(len(headings))]
    lines = []
    for row in cells:
        padded = [cell + " " * (widths[column] - width(cell)) for column, cell in enumerate(row)]
        lines.append(COLUMN_GAP.join(padded).rstrip())
    return "\n".join(lines)


def show_json(document: object) -> None:
    """Print ``document`` as indented JSON, keys in the order the node gave them."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def say(text: str) -> None:
    """Print a sentence or a table that is safe to print (its data went through ``plain`` or ``table``)."""
    click.echo(text)


def warn(text: str) -> None:
    """Say something that is not the answer: on standard error, so that a pipe never swallows it."""
    click.echo(f"Warning: {plain(text)}", err=True)


def differences(before: object, after: object, path: str = "") -> list[str]:
    """Every leaf in which two JSON values differ, as ``path: before → after``; absent is said so."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        lines = []
        for key in [*before, *(key for key in after if key not in before)]:
            here = f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
            lines += differences(before.get(key, _ABSENT), after.get(key, _ABSENT), here)
        return lines
    if type(before) is type(after) and before == after:
        return []
    return [f"{path or '/'}: {_leaf(before)} → {_leaf(after)}"]


_ABSENT: Any = object()


def _leaf(value: object) -> str:
    return "(absent)" if value is _ABSENT else shortened(plain(compact(value)))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"F", "W"} else 1
