"""Which change an ``Idempotency-Key`` has led to.

The key travels in the change, so every node that has applied the change can answer a retry, whichever node took the
first try.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Change, Dot, Envelope
from vexil.node.errors import NodeNotReady

KEPT_MS = 24 * 3600 * 1000
KEYS_MAX = 200_000
"""Per project; beyond it the oldest go first."""
RETURN_PREFIX: Final = "return/"
"""Of the keys that a node makes for what comes back; no client's key starts with it."""
COMPLETE_WAIT_S = 5.0
"""How long a write with a key waits for the keys from before a start; then it is refused."""


class Remembered(NamedTuple):
    """The change that a key stands for."""

    dot: Dot
    hlc: int
    fingerprint: bytes


class IdempotencyIndex:
    """Keys of one project, in the order in which their changes were applied.

    A start reads keys from its region's log, where changes may stand that have not come here, or never will: who wrote
    them was evicted. A change that is here goes before one that is not.
    """

    __slots__ = ("_complete", "_here", "_keys")

    def __init__(self, here: Callable[[Dot], bool] = lambda _: True) -> None:
        """No keys, and none that are missing. ``here`` says whether a change is in the state."""
        self._here = here
        self._keys: OrderedDict[str, Remembered] = OrderedDict()
        self._complete = trio.Event()
        self._complete.set()

    @property
    def complete(self) -> bool:
        """Whether a key that is not in here was not used; False while the keys from before a start are read."""
        return self._complete.is_set()

    async def until_complete(self) -> None:
        """Return when `complete`; what is looked up before may be missing.

        Raises NodeNotReady, which is definite, after `COMPLETE_WAIT_S`.
        """
        if self.complete:
            return
        with trio.move_on_after(COMPLETE_WAIT_S):
            await self._complete.wait()
        if not self.complete:
            raise NodeNotReady("the idempotency keys of the last day are still being read")

    def begin(self) -> None:
        """From now on older keys are missing, until `finish`."""
        self._complete = trio.Event()

    def finish(self, older: IdempotencyIndex) -> None:
        """Put the keys of ``older``, which is used up, before those that are here; of two equal ones its stays."""
        since, self._keys = self._keys, older.release()
        for key, remembered in since.items():
            if self._stands_instead(remembered, self._keys.get(key)):
                self._keys[key] = remembered
        while len(self._keys) > KEYS_MAX:
            self._keys.popitem(last=False)
        self._complete.set()

    def release(self) -> OrderedDict[str, Remembered]:
        """Give away all keys."""
        keys, self._keys = self._keys, OrderedDict()
        return keys

    def register(self, change: Change | Envelope) -> None:
        """Remember the key of an applied change, if it has one. Of two that are here the first stays."""
        if change.idempotency is None:
            return
        key, fingerprint = change.idempotency
        self.remember(key, Remembered(change.dot, change.hlc, fingerprint))

    def remember(self, key: str, remembered: Remembered) -> None:
        """Take a key from another node's index. One that stands for a change which is here stays as it is."""
        if self._stands_instead(remembered, self._keys.get(key)):
            self._keys[key] = remembered
            if len(self._keys) > KEYS_MAX:
                self._keys.popitem(last=False)

    def entries(self) -> list[tuple[str, Remembered]]:
        """Every key that is kept, in order: a copy, for a snapshot."""
        return list(self._keys.items())

    def forget(self, key: str, dot: Dot) -> None:
        """Drop a key if it stands for ``dot``, which will not come."""
        remembered = self._keys.get(key)
        if remembered is not None and remembered.dot == dot:
            del self._keys[key]

    def lookup(self, key: str) -> Remembered | None:
        """What the key stands for, if that is still kept."""
        return self._keys.get(key)

    def _stands_instead(self, new: Remembered, old: Remembered | None) -> bool:
        return old is None or (not self._here(old.dot) and self._here(new.dot))

    def forget_before(self, wall_ms: int) -> None:
        """Drop keys that were used more than `KEPT_MS` before ``wall_ms``."""
        limit = hlcs.pack(max(0, wall_ms - KEPT_MS))
        while self._keys:
            key, remembered = next(iter(self._keys.items()))
            if remembered.hlc >= limit:
                return
            del self._keys[key]
