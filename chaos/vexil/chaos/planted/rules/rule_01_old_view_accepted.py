"""A write under an `If-Match` that is no longer true is taken: it overwrites what its author has not seen."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt.change import Dot
from vexil.node.authoring.if_match import Condition


def _check_existence(self: Condition, *, generation: Dot | None) -> None:
    return


def _check_touched(self: Condition, touched: Iterable[object]) -> None:
    return


@contextmanager
def _apply() -> Iterator[None]:
    with (
        patch.object(Condition, "check_existence", _check_existence),
        patch.object(Condition, "check_touched", _check_touched),
    ):
        yield


SWITCH: Final = SwitchedOff(1, "ctx", _apply)
