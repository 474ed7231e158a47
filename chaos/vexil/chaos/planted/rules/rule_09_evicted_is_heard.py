"""Changes are taken from a node that is not registered here: one that was evicted."""

from __future__ import annotations

from typing import Final

from vexil.chaos.planted.bugs import evicted_not_fenced
from vexil.chaos.planted.switched_off import SwitchedOff

SWITCH: Final = SwitchedOff(9, "fence", evicted_not_fenced.BUG.apply, profiles=frozenset(("members",)))
