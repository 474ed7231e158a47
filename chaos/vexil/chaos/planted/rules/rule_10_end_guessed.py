"""An incarnation that has ended is retired at what is known of it here, whatever the others know."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.project import Project
from vexil.node.retirement import Retirement


def _ended(self: Retirement) -> set[int]:
    ground = self._ground
    members = ground.directory.members.values()
    current = {m.current for m in members if m.registered}
    return {i for m in members for i in m.incarnations if i not in current} - {ground.running}


def _final(self: Retirement, project: Project, ended: set[int]) -> dict[int, int]:
    vv = project.replica.vv
    return {i: vv[i] for i in sorted(ended & vv.keys())}


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Retirement, "ended", _ended), patch.object(Retirement, "final", _final):
        yield


SWITCH: Final = SwitchedOff(10, "retire", _apply, profiles=frozenset(("crashes",)))
