"""Which change an ``Idempotency-Key`` has led to.

The key travels in the change, so every node that has applied the change can answer a retry, whichever node took the
first try.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Change, Dot, Envelope

KEPT_MS = 24 * 3600 * 1000
KEYS_MAX = 200_000
"""Per project; beyond it the oldest go first."""


class Remembered(NamedTuple):
    """The change that a key stands for."""

    dot: Dot
    hlc: int
    fingerprint: bytes


class IdempotencyIndex:
    """Keys of one project, in the order in which their changes were applied."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        """No keys."""
        self._keys: OrderedDict[str, Remembered] = OrderedDict()

    def register(self, change: Change | Envelope) -> None:
        """Remember the key of an applied change, if it has one. Of two changes with one key the first stays."""
        if change.idempotency is None:
            return
        key, fingerprint = change.idempotency
        if key not in self._keys:
            self._keys[key] = Remembered(change.dot, change.hlc, fingerprint)
            if len(self._keys) > KEYS_MAX:
                self._keys.popitem(last=False)

    def lookup(self, key: str) -> Remembered | None:
        """What the key stands for, if that is still kept."""
        return self._keys.get(key)

    def forget_before(self, wall_ms: int) -> None:
        """Drop keys that were used more than `KEPT_MS` before ``wall_ms``."""
        limit = hlcs.pack(max(0, wall_ms - KEPT_MS))
        while self._keys:
            key, remembered = next(iter(self._keys.items()))
            if remembered.hlc >= limit:
                return
            del self._keys[key]
