"""What a repair has found and done, for the log, the status and a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from vexil.crdt import cell as cells
from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Dot, render_id
from vexil.crdt.mending import Address
from vexil.crdt.payload import TOMBSTONE, UNREADABLE, decode

SHOWN_MAX: Final = 20
"""Differences that a report lists; the others are counted."""
KEPT_MAX: Final = 50
"""Reports that a node remembers."""
TEXT_CHARACTERS_MAX: Final = 120


@dataclass(frozen=True, slots=True)
class Difference:
    """One incarnation's part of one cell: what each side had, and what it is now."""

    object: str
    generation: Dot
    field: str
    incarnation: int
    ours: str
    theirs: str
    taken: str

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "object": self.object,
            "generation": render_id(self.generation),
            "field": self.field,
            "incarnation": f"{self.incarnation:016x}",
            "ours": self.ours,
            "theirs": self.theirs,
            "taken": self.taken,
        }


@dataclass(frozen=True, slots=True)
class Repair:
    """One comparison that found something."""

    project: str
    peer: str
    wall_ms: int
    cells: int
    """Cells that were mended here."""
    root: bool
    """The root hash was not that of the cells."""
    left: int
    """Differing cells that were left as they are: right here, or changed meanwhile."""
    differences: tuple[Difference, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "project": self.project,
            "peer": self.peer,
            "time": hlcs.render_time(self.wall_ms),
            "cells": self.cells,
            "root": self.root,
            "left": self.left,
            "differences": [difference.plain() for difference in self.differences],
        }


def differences(address: Address, ours: bytes, theirs: bytes, taken: bytes) -> Iterable[Difference]:
    """The parts of a cell in which the two sides differ."""
    sides = [_parts(cell) for cell in (ours, theirs, taken)]
    for incarnation in sorted({*sides[0], *sides[1]}):
        here, there, now = (side.get(incarnation, "nothing") for side in sides)
        if here != there:
            yield Difference(*address, incarnation, here, there, now)


def _parts(cell: bytes) -> dict[int, str]:
    parts = {lane.incarnation: f"{lane.seq}: {_shown(lane.payload)}" for lane in cells.lanes(cell)}
    for seen in cells.seen(cell):
        before = parts.get(seen.incarnation, "nothing")
        parts[seen.incarnation] = f"{before}, replaced up to {seen.seq} by {render_id(seen.by)}"
    return parts


def _shown(payload: bytes) -> str:
    value = decode(payload).value
    if value is TOMBSTONE:
        return "removed"
    text = payload.hex() if value is UNREADABLE else repr(value)
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[:TEXT_CHARACTERS_MAX] + "…"
