"""The tie-break looks at the stamp alone: of equal stamps the first lane wins, whoever wrote it.

Lanes are kept in order, so here all nodes agree on the wrong one: it is the event graph that notices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt import generation, policy
from vexil.crdt.cell import Lane
from vexil.crdt.payload import is_tombstone


def _latest(lanes: Sequence[Lane]) -> Lane | None:
    best: Lane | None = None
    for lane in lanes:
        if not is_tombstone(lane.payload) and (best is None or lane.hlc > best.hlc):
            best = lane
    return best


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(policy, "latest", _latest), patch.object(generation, "latest", _latest):
        yield


BUG: Final = PlantedBug(
    2, "tie without incarnation", frozenset(("P2", "P13")), _apply, profiles=frozenset(("clocks",))
)
