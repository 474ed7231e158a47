"""A process goes on under its predecessor's start number: what that one still had in flight counts when it lands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node import loading
from vexil.node.seams import MemberRow


def _member_row(slot: str, *, start: int, **facts: Any) -> MemberRow:
    return MemberRow(slot, start=max(1, start - 1), **facts)


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(loading, "MemberRow", _member_row):
        yield


SWITCH: Final = SwitchedOff(4, "seal", _apply, profiles=frozenset(("crashes", "disks")))
