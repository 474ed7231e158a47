"""The kill switch is a plain last-writer-wins field: an un-kill that had not seen a kill takes it back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt import cell_reader, policy
from vexil.crdt.cell import Lane
from vexil.crdt.policy import Outcome, lww
from vexil.node.authoring import sheet


def _killed(lanes: Sequence[Lane]) -> Outcome:
    outcome = lww(lanes)
    return Outcome(outcome.value is True, outcome.winner, outcome.siblings)


@contextmanager
def _apply() -> Iterator[None]:
    with (
        patch.object(policy, "killed", _killed),
        patch.object(cell_reader, "killed", _killed),
        patch.object(sheet, "killed", _killed),
    ):
        yield


BUG: Final = PlantedBug(
    9, "kill as last writer", frozenset(("P5", "P13")), _apply, profiles=frozenset(("links",))
)
