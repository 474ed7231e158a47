"""A member that cannot be reached is not waited for before garbage is collected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.node.caretaker import Caretaker
from vexil.node.engine import Engine
from vexil.node.project import Project
from vexil.node.stability import Blocked, Stable, stability


def _stability(self: Caretaker, project: Project) -> Stable | Blocked:
    home = self._home
    assert isinstance(home, Engine)
    gone = {name for name, peer in home.peers.items() if peer.unreachable}
    return stability(
        project.name,
        project.replica,
        home.system.replica,
        registrations=[r for r in home.directory.registrations() if r.slot not in gone],
        announcements=self.announcements,
    )


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(Caretaker, "stability", _stability):
        yield


BUG: Final = PlantedBug(
    12,
    "garbage without the partitioned",
    frozenset(("P3", "P4", "P9")),
    _apply,
    history="garbage-waits-for-the-cut-off",
    profiles=frozenset(("links",)),
)
