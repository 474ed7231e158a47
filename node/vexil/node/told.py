"""What announcements tell of single members, for people: when each was last heard of, and who holds up garbage."""

from __future__ import annotations

from typing import Protocol


class Told(Protocol):
    """The announcements of members, as lists and status show them."""

    def announced_ms(self, slot: str) -> int | None:
        """How long ago ``slot``, as it is registered now, last announced what it has; None if it never did."""

    def blocks_garbage(self, slot: str) -> bool:
        """Whether garbage of some project waits for ``slot``."""
