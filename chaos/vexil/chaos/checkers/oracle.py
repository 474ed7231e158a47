"""The event-graph oracle: what a set of changes means, said without cells, lanes or joins.

It is given every change as a plain event (who, when, what its author had seen, what it wrote) and answers for any
set of changes: *a write survives iff no operation on its cell had seen it*. An operation had seen a write iff the
write's change is in the causal past of the operation's change. It has no state to merge, shares no code
with the product and imports nothing of it: where the two disagree, one of them is wrong.

It serves one node (which changes has it applied?), and a whole cluster (which changes were ever written?).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Final, NamedTuple

Dot = tuple[int, int]
Vector = Mapping[int, int]

OUTSIDE: Final[Dot] = (0, 0)
"""The generation of cells that belong to none."""
EXISTENCE: Final = "exists"
"""The field whose surviving value says that its generation is there."""


class Removed:
    """The type of ``REMOVED``."""

    def __repr__(self) -> str:
        return "REMOVED"


REMOVED: Final = Removed()
"""The value of a write that removes."""


class Address(NamedTuple):
    """Where a cell is."""

    object: str
    generation: Dot
    field: str


class Operation(NamedTuple):
    """One write of one cell: any value, or ``REMOVED``."""

    object: str
    generation: Dot
    field: str
    author: str
    value: Any


@dataclass(frozen=True, slots=True)
class Event:
    """One change. ``seen`` is the whole vector of what its author had seen, not a difference."""

    dot: Dot
    hlc: int
    seen: Vector
    operations: tuple[Operation, ...]

    def had_seen(self, dot: Dot) -> bool:
        """Whether its author had seen ``dot``."""
        return dot[1] <= (self.dot[1] - 1 if dot[0] == self.dot[0] else self.seen.get(dot[0], 0))


class Write(NamedTuple):
    """A write that survives."""

    dot: Dot
    hlc: int
    author: str
    value: object


class Generation(NamedTuple):
    """A generation that is there; tuples of it sort by precedence."""

    epoch: int
    created: int
    generation: Dot


def dots(vector: Vector) -> frozenset[Dot]:
    """Every dot that a version vector covers."""
    return frozenset(chain.from_iterable(zip(repeat(i), range(1, last + 1)) for i, last in vector.items()))


class Oracle:
    """Everything that was ever written. A question names the changes that count: ``covered``."""

    def __init__(self) -> None:
        """No history."""
        self.events: dict[Dot, Event] = {}
        self._writers: dict[Address, list[tuple[Write, list[Dot]]]] = {}
        """Per cell its writes, each with the changes of those who wrote there and had seen it."""
        self._addresses: dict[str, set[Address]] = {}

    def add(self, event: Event) -> None:
        """Take one change in. Adding it again is nothing; another change with its dot is an error (P11)."""
        if event.dot in self.events:
            assert self.events[event.dot] == event, f"two changes are called {event.dot}"
            return
        self.events[event.dot] = event
        for operation in event.operations:
            address = Address(*operation[:3])
            writers = self._writers.setdefault(address, [])
            assert not writers or writers[-1][0].dot != event.dot, f"two writes of {address} in {event.dot}"
            seen_by = [other.dot for other, _ in writers if self.events[other.dot].had_seen(event.dot)]
            for other, others in writers:
                if event.had_seen(other.dot):
                    others.append(event.dot)
            writers.append((Write(event.dot, event.hlc, operation.author, operation.value), seen_by))
            self._addresses.setdefault(address.object, set()).add(address)

    # -- causality

    def past(self, dot: Dot) -> Iterator[Dot]:
        """Every dot that the author of ``dot`` had seen."""
        for other, last in {**self.events[dot].seen, dot[0]: dot[1] - 1}.items():
            yield from ((other, seq) for seq in range(1, last + 1))

    def missing_causes(self, covered: Collection[Dot]) -> list[tuple[Dot, Dot]]:
        """Pairs (change, one that its author had seen) where ``covered`` has the first only: none in a true state.

        Of each incarnation only the last that was seen is looked for: it has causes of its own.
        """
        return [
            (dot, (other, last))
            for dot in covered
            for other, last in (*self.events[dot].seen.items(), (dot[0], dot[1] - 1))
            if last and (other, last) not in covered
        ]

    # -- cells

    def addresses(self, name: str | None = None) -> Iterable[Address]:
        """The cells of one object, or of all, that were ever written."""
        return self._writers if name is None else self._addresses.get(name, ())

    def survivors(self, address: Address, covered: Collection[Dot]) -> dict[Dot, Write]:
        """The writes of a cell that survive, those that remove among them."""
        writes, counts = self._writers.get(address, ()), covered.__contains__
        return {write.dot: write for write, by in writes if counts(write.dot) and not any(map(counts, by))}

    def live(self, name: str, covered: Collection[Dot]) -> dict[Address, dict[Dot, Write]]:
        """The surviving writes of every cell of an object that ``covered`` wrote."""
        found = ((address, self.survivors(address, covered)) for address in self._addresses.get(name, ()))
        return {address: writes for address, writes in found if writes}

    def winner(self, address: Address, covered: Collection[Dot]) -> Write | None:
        """The last writer's value: highest ``(hlc, incarnation)`` of what survives and does not remove."""
        values = [w for w in self.survivors(address, covered).values() if w.value is not REMOVED]
        return max(values, key=lambda write: (write.hlc, write.dot[0]), default=None)

    def present(self, address: Address, covered: Collection[Dot]) -> bool:
        """Whether the entry is there: its cell has a surviving value and its generation exists."""
        exists = address.generation == OUTSIDE or self._there(address, covered)
        return exists and self.winner(address, covered) is not None

    def killed(self, address: Address, covered: Collection[Dot]) -> bool:
        """Off-wins: whether any surviving write says so."""
        return any(write.value is True for write in self.survivors(address, covered).values())

    # -- existence

    def generations(self, name: str, covered: Collection[Dot]) -> list[Generation]:
        """The generations of an object that are there, the shown one first."""
        found = []
        for address in self._addresses.get(name, ()):
            if address.field == EXISTENCE and address.generation != OUTSIDE:
                winner = self.winner(address, covered)
                if winner is not None:
                    value = winner.value if isinstance(winner.value, dict) else {}
                    # A create does not know its stamp when it is written: until somebody touches it, its own counts.
                    created = value.get("created", winner.hlc)
                    found.append(Generation(value.get("epoch", 0), created, address.generation))
        return sorted(found, reverse=True)

    def needs_review(self, name: str, generation: Dot, covered: Collection[Dot]) -> bool:
        """Whether a delete and an edit of the generation had not seen each other."""
        writes = self.survivors(Address(name, generation, EXISTENCE), covered).values()
        return len({write.value is REMOVED for write in writes}) == 2

    def state(self, covered: Collection[Dot]) -> frozenset[tuple[Address, Dot]]:
        """All that counts: each surviving value in a generation that is there. Equal iff two states are equal."""
        return frozenset(
            (address, write.dot)
            for address in self._writers
            if address.generation == OUTSIDE or self._there(address, covered)
            for write in self.survivors(address, covered).values()
            if write.value is not REMOVED
        )

    def _there(self, address: Address, covered: Collection[Dot]) -> bool:
        return self.winner(address._replace(field=EXISTENCE), covered) is not None
