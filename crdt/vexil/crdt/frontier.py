"""Whether a change fits on a state: what a replica will have once what is on its way to the journal is applied.

Every node must come to the same verdict on the same change, whenever it comes there. So a change is judged by what its
author says to have seen, and only waits for what is not here yet.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import Enum
from typing import TYPE_CHECKING

from vexil.crdt import retired as retirement
from vexil.crdt.change import Change
from vexil.crdt.schema import RETIRED_OBJECT

if TYPE_CHECKING:
    from vexil.crdt.replica import Replica


class Verdict(Enum):
    """What a change is to a replica."""

    NEXT = "next"
    """It can be applied now."""
    DUPLICATE = "duplicate"
    """It has been applied."""
    WAITING = "waiting"
    """A change before it, or one that its author had seen, is not here yet."""
    FORK = "fork"
    """Another change with the same dot, or with another past of the same incarnation, is here."""
    OVERCLAIM = "overclaim"
    """It says that it replaces a lane, or retires an incarnation, which its author cannot have seen so."""
    BELOW_FLOOR = "below-floor"
    """Its author had not seen all whose garbage has been collected here: it might bring back what was removed."""


class Frontier:
    """What a replica will have once some changes that are on their way to the journal are applied.

    A page of received changes is judged as a whole before any of it is journalled, and journalled before any of it
    is applied; this is the vector in between.
    """

    __slots__ = ("_chains", "_deps", "_forked", "_replica", "_retired", "_vv")

    def __init__(self, replica: Replica, forked: Container[int] = ()) -> None:
        """The frontier at the replica's present state.

        ``forked`` are incarnations with two histories. Whoever has the one cannot take the other, so what a later
        change has seen of them is not waited for: else it would never get to a node of the other branch.
        """
        self._replica = replica
        self._forked = forked
        self._vv: dict[int, int] = {}
        self._chains: dict[int, bytes] = {}
        self._deps: dict[int, dict[int, int]] = {}
        self._retired: Mapping[int, int] = replica.retired

    def _known(self, incarnation: int) -> int:
        return self._vv.get(incarnation) or self._replica.known(incarnation)

    def verdict(self, change: Change) -> Verdict:
        """What ``change`` is to the replica once everything that was admitted here is applied. No effect."""
        incarnation = change.incarnation
        if incarnation in self._retired:
            return Verdict.DUPLICATE if change.seq <= self._retired[incarnation] else Verdict.FORK
        known = self._known(incarnation)
        head = self._chains.get(incarnation) or self._replica.head(incarnation)
        if change.seq <= known:
            return Verdict.FORK if change.seq == known and change.chain != head else Verdict.DUPLICATE
        if change.seq > known + 1:
            return Verdict.WAITING
        if change.previous != head:
            return Verdict.FORK
        for other, seq in change.deps:
            if self._known(other) < seq and other not in self._forked:
                return Verdict.WAITING
        if self._overclaims(change, known):
            return Verdict.OVERCLAIM
        if not self._replica.floor or incarnation in self._replica.above_floor:
            return Verdict.NEXT
        return self._against_floor(change, known)

    def has_ended(self, incarnation: int) -> bool:
        """Whether the incarnation is retired, also by what was admitted here."""
        return incarnation in self._retired

    def _overclaims(self, change: Change, known: int) -> bool:
        """Judged by what the author had seen and not by what is here: every node must say the same."""
        past: Mapping[int, int] | None = None
        for operation in change.operations:
            if operation.seen:
                past = past or self._past(change, known)
                if len(operation.seen) > 1 and len(dict(operation.seen)) < len(operation.seen):
                    # Each incarnation at most once: how a cell is read leans on it.
                    return True
                for other, seq in operation.seen:
                    # A retired incarnation is in nobody's past any more, but nobody has seen more than its end.
                    if past.get(other, 0) < seq and self._retired.get(other, 0) < seq:
                        return True
            if operation.object == RETIRED_OBJECT:
                past = past or self._past(change, known)
                finals = retirement.of_change(change)
                if any(past.get(i, self._retired.get(i)) != n for i, n in finals.items()):
                    return True
        return False

    def _against_floor(self, change: Change, known: int) -> Verdict:
        past = self._past(change, known)
        # On the branch of a fork that is not here incarnations may have been retired: they are in no past any more.
        elsewhere = any(seq > self._known(i) for i, seq in past.items() if i in self._forked)
        for incarnation, seq in self._replica.floor.items():
            if past.get(incarnation, 0) < seq and not (
                incarnation in self._forked
                or incarnation in self._retired
                or (elsewhere and incarnation not in past)
            ):
                return Verdict.BELOW_FLOOR
        self._replica.above_floor.add(change.incarnation)
        return Verdict.NEXT

    def _past(self, change: Change, known: int) -> Mapping[int, int]:
        """All that the author of ``change``, the next one of its incarnation, says to have seen."""
        incarnation = change.incarnation
        past = dict(self._replica.deps_of(incarnation))
        if incarnation in self._deps:
            past.update(self._deps[incarnation])
        past.update(change.deps)
        past[incarnation] = known
        return past

    def admit(self, change: Change) -> None:
        """``change`` has been found `Verdict.NEXT` and will be applied in this order."""
        self._vv[change.incarnation] = change.seq
        self._chains[change.incarnation] = change.chain
        if change.deps:
            self._deps.setdefault(change.incarnation, {}).update(change.deps)
        if any(operation.object == RETIRED_OBJECT for operation in change.operations):
            self._retired = {**retirement.of_change(change), **self._retired}
