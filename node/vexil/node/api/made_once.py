"""What takes many turns of the event loop to make is made once for all who ask meanwhile, and the last ones are kept.

Nobody is given what was begun before he asked, unless it is still as if it were made now: it may lack what he has seen.
And nobody waits for more than two makings: the one that is under way, and the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import trio

Address = TypeVar("Address", bound=Hashable)
Made = TypeVar("Made")


class _Kept(NamedTuple, Generic[Made]):
    subject: object
    made: Made


@dataclass(slots=True, eq=False)
class _Making(Generic[Made]):
    """One making; ``kept`` stays None if it fails, or its maker is cancelled."""

    done: trio.Event = field(default_factory=trio.Event)
    kept: _Kept[Made] | None = None


class MadeOnce(Generic[Address, Made]):
    """What was made last at each address, for ``kept_max`` addresses: the one that was asked for first goes first."""

    __slots__ = ("_kept", "_max", "_under_way")

    def __init__(self, *, kept_max: int) -> None:
        """Nothing yet."""
        self._max = kept_max
        self._kept: OrderedDict[Address, _Kept[Made]] = OrderedDict()
        self._under_way: dict[Address, _Making[Made]] = {}

    def last(self, address: Address) -> Made | None:
        """What was made there last, of whatever subject; None if it is not kept."""
        kept = self._kept.get(address)
        return None if kept is None else kept.made

    async def of(
        self,
        address: Address,
        subject: object,
        make: Callable[[], Awaitable[Made]],
        *,
        current: Callable[[Made], bool],
    ) -> Made:
        """What ``make`` has made of ``subject``: the last one if it is ``current``, else one begun since this call.

        Subjects are told apart by identity. One making at a time at an address; it is its caller's own task. If that
        is cancelled, or ``make`` raises, only that caller is concerned: nothing is kept, and one of the others begins.
        """
        begun_before = self._under_way.get(address)
        if begun_before is not None:
            await begun_before.done.wait()
        while True:
            kept = self._kept.get(address)
            if kept is not None and kept.subject is subject and current(kept.made):
                self._kept.move_to_end(address)
                return kept.made
            making = self._under_way.get(address)
            if making is None:
                return await self._make(address, subject, make)
            await making.done.wait()
            if making.kept is not None and making.kept.subject is subject:
                return making.kept.made

    async def _make(self, address: Address, subject: object, make: Callable[[], Awaitable[Made]]) -> Made:
        making = self._under_way[address] = _Making[Made]()
        try:
            kept = making.kept = _Kept(subject, await make())
        finally:
            del self._under_way[address]
            making.done.set()
        self._kept[address] = kept
        self._kept.move_to_end(address)
        if len(self._kept) > self._max:
            self._kept.popitem(last=False)
        return kept.made
