"""A record of the own journal whose causes are not here when a process starts is not tried again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node import startup


@contextmanager
def _apply() -> Iterator[None]:
    sound = startup.load

    async def load(*arguments: Any, **options: Any) -> startup.Loaded:
        loaded = await sound(*arguments, **options)
        loaded.pending.clear()
        return loaded

    with patch.object(startup, "load", load):
        yield


SWITCH: Final = SwitchedOff(6, "jretry", _apply, profiles=frozenset(("disks", "crashes")))
