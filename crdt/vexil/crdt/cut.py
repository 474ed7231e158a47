"""A cut: one project's state as it was at one instant, readable while the replica goes on.

Copy on write, turned round: what the cut shows are the very dictionaries that the replica had. Before the replica
changes an object it puts a copy in their place and goes on with that, so whoever reads the cut may stop in the middle
of an object for as long as it likes. A cut costs nothing until something is changed, and then one object each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import TracebackType
from typing import Final, Self

from vexil.crdt.name_order import sorting

CUTS_MAX: Final = 4
"""Open cuts of one replica: each may come to hold a whole older state."""

Dot = tuple[int, int]
Generations = dict[Dot, dict[str, bytes]]


class TooManyCuts(RuntimeError):
    """As many cuts as a replica may have are open; one of them must be closed first."""


class Cut:
    """An immutable view of a replica; made by `Replica.cut`, closed by its user (``with``)."""

    def __init__(
        self,
        *,
        vv: Mapping[int, int],
        floor: Mapping[int, int],
        header: bytes,
        objects: Mapping[str, Generations],
        on_close: Callable[[Cut], None],
    ) -> None:
        """``objects`` is the replica's own: it says what becomes of each name by `keep`."""
        self.vv: Final = dict(vv)
        self.floor: Final = dict(floor)
        self.header: Final = header
        self._objects = objects
        self._at_cut = list(objects)
        self._kept: dict[str, Generations] = {}
        self._on_close = on_close
        self._open = True

    @cached_property
    def names(self) -> list[str]:
        """Every object at the cut, ascending. Do not change it."""
        return sorted(self._at_cut)

    def sort(self) -> Iterator[None]:
        """Make `names` step by step: whoever shares the thread with others goes through this first."""
        if "names" not in self.__dict__:
            self.__dict__["names"] = yield from sorting(self._at_cut)

    @property
    def size(self) -> int:
        """How many objects there were."""
        return len(self._at_cut)

    @property
    def changed(self) -> set[str]:
        """The objects that have been touched since: changed, added, or robbed of garbage."""
        return set(self._kept)

    def cells(self, name: str) -> Mapping[Dot, Mapping[str, bytes]]:
        """The object's cells at the cut; empty if it was not there. They never change; do not change them."""
        assert self._open, "a closed cut shows nothing"
        kept = self._kept.get(name)
        return self._objects.get(name, {}) if kept is None else kept

    def objects(self, after: str | None = None) -> Iterator[tuple[str, Mapping[Dot, Mapping[str, bytes]]]]:
        """Every object whose name is above ``after``, ascending, with its cells at the cut."""
        names = self.names
        for at in range(0 if after is None else bisect_right(names, after), len(names)):
            yield names[at], self.cells(names[at])

    def unordered(self) -> Iterator[tuple[str, Mapping[Dot, Mapping[str, bytes]]]]:
        """Every object with its cells at the cut, in no order: nothing has to be sorted before the first."""
        for name in self._at_cut:
            yield name, self.cells(name)

    def keep(self, name: str, generations: Generations | None) -> bool:
        """The replica is about to change the object, which is ``generations`` now; None if it is not there.

        Returns whether the cut shows ``generations`` from now on, so that they must not be changed.
        """
        if name in self._kept:
            return False
        self._kept[name] = {} if generations is None else generations
        return generations is not None

    def close(self) -> None:
        """Let the replica change its objects in place again. Closing twice is nothing."""
        if self._open:
            self._open = False
            self._kept = {}
            self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
