"""A snapshot takes the place of what is here, also where that is newer."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt.change import Dot
from vexil.crdt.merge import Merge


def _join(
    self: Merge, mine: Mapping[Dot, Mapping[str, bytes]], theirs: Mapping[Dot, Mapping[str, bytes]]
) -> dict[Dot, dict[str, bytes]] | None:
    if not theirs or theirs == mine:
        return None
    return {generation: dict(fields) for generation, fields in theirs.items()}


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Merge, "_join", _join):
        yield


SWITCH: Final = SwitchedOff(3, "snapjoin", _apply, profiles=frozenset(("copies",)))
