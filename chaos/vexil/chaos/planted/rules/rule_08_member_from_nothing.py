"""A node that finds nothing and nobody takes writes at once, and hopes to be joined with the others later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.enrolment import Enrolment


@contextmanager
def _apply() -> Iterator[None]:
    sound = Enrolment.become_member

    async def become_member(self: Enrolment, stored: str | None) -> None:
        self._settings = replace(self._settings, bootstrap=True)
        await sound(self, stored)

    with patch.object(Enrolment, "become_member", become_member):
        yield


SWITCH: Final = SwitchedOff(8, "needboot", _apply, profiles=frozenset(("members",)))
