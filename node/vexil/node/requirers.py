"""Who has a prerequisite on whom, the other way round than flags say it.

The one idea: it is kept up flag by flag as flags are read, since to look for it means to visit all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Requirers:
    """By flag, the flags that require it. Only flags that have a prerequisite take room."""

    __slots__ = ("_by_required", "_required_by")

    def __init__(self) -> None:
        """Nobody requires anything."""
        self._required_by: dict[str, frozenset[str]] = {}
        self._by_required: dict[str, set[str]] = {}

    def read(self, key: str, required: Iterable[str]) -> None:
        """The flag ``key`` requires just these from now on."""
        now, before = frozenset(required), self._required_by.pop(key, frozenset())
        if now:
            self._required_by[key] = now
        for gone in before - now:
            left = self._by_required[gone]
            left.discard(key)
            if not left:
                del self._by_required[gone]
        for new in now - before:
            self._by_required.setdefault(new, set()).add(key)

    def of(self, key: str) -> Collection[str]:
        """The flags that require the flag ``key``, in no order. Do not keep it."""
        return self._by_required.get(key, ())
