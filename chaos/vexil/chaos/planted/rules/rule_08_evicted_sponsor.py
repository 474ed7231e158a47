"""An evicted node sponsors whoever asks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.engine import Engine
from vexil.node.enrolment import MEMBER, Enrolment


@contextmanager
def _apply() -> Iterator[None]:
    sound, sound_admit = Engine.is_member, Enrolment.admit

    def is_member(self: Engine, node: str, registration: str) -> bool:
        own = self.ready and node == self.settings.name
        return own or sound(self, node, registration)

    async def admit(self: Enrolment, **member: Any) -> None:
        standing = self._standing
        self._standing = MEMBER
        try:
            await sound_admit(self, **member)
        finally:
            self._standing = standing

    with patch.object(Engine, "is_member", is_member), patch.object(Enrolment, "admit", admit):
        yield


SWITCH: Final = SwitchedOff(8, "sponsor", _apply, profiles=frozenset(("members",)))
