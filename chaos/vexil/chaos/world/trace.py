"""The trace: one line for everything that happens, hashed, so that two runs are compared by one number.

With the virtual time in every line, the first decision that differs changes the hash.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import trio

LINES_KEPT_MAX: Final = 200_000


class Trace:
    """What happened, in order. ``lines`` are kept only if asked for."""

    def __init__(self, *, keep: bool = False) -> None:
        """An empty trace."""
        self.events = 0
        self.lines: list[str] = []
        self._keep = keep
        self._hash = sha256()

    def add(self, kind: str, *facts: object) -> None:
        """One event, now."""
        line = f"{trio.current_time():.9f} {kind} {' '.join(map(str, facts))}\n"
        self.events += 1
        self._hash.update(line.encode())
        if self._keep and len(self.lines) < LINES_KEPT_MAX:
            self.lines.append(line)

    @property
    def left_out(self) -> int:
        """How many lines were to be kept and are not."""
        return self.events - len(self.lines) if self._keep else 0

    def hexdigest(self) -> str:
        """The hash of everything so far."""
        return self._hash.hexdigest()
