"""The history of a run as the oracle is told it: each change with what its author had seen, by our own notes.

For a client's write that is the vector which its decision saw with its own eyes, so that an error in ``deps`` cannot
hide itself; for what nodes write by themselves it is what they say. Vectors leave out what is retired: whoever has
seen a retirement has seen all of what it retires. An incarnation with two histories fits into no graph: a project in
which there is one is not told, from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from vexil.chaos.checkers.oracle import REMOVED, Address, Dot, Event, Operation, Oracle, dots
from vexil.chaos.checkers.returned import only_parks
from vexil.chaos.run.history import History
from vexil.chaos.world import junk
from vexil.crdt.change import Change
from vexil.crdt.payload import decode
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT

EXTENSIONS: Final = frozenset((0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8))
"""First bytes of msgpack extensions: a payload that begins with one removes."""


class EventGraph:
    """One oracle for each project of a run."""

    def __init__(self, history: History) -> None:
        """Nothing has been told yet."""
        self.payloads: dict[tuple[str, Address, Dot], bytes] = {}
        """What each write says, by its project, its cell and its change."""
        self.junk: set[tuple[str, Dot]] = set()
        """By project, changes whose values nobody can be expected to read."""
        self.keys: dict[tuple[str, str], list[Dot]] = {}
        """By project and idempotency key the changes that carry it and do more than to park."""
        self.wrong: list[str] = []
        """What changes say wrongly of what their authors had seen; for whoever judges that to take."""
        self._history = history
        self._oracles: dict[str, Oracle] = {}
        self._seen: dict[tuple[str, Dot], dict[int, int]] = {}
        self._retirements: dict[str, list[tuple[Dot, int, int]]] = {}

    def oracle(self, project: str) -> Oracle | None:
        """The oracle of ``project``, told of everything until now; None if there are two histories in it."""
        told = self._history.changes.get(project, {})
        oracle = self._oracles.setdefault(project, Oracle())
        if len(told) == len(oracle.events):
            return None if self._is_forked(oracle) else oracle
        news = list(islice(told.items(), len(oracle.events), None))
        for dot, change in news:
            self._note_retirements(project, dot, change)
        for _, change in news:
            oracle.add(self._event(project, change))
        return None if self._is_forked(oracle) else oracle

    def covered(self, project: str, vector: Mapping[int, int]) -> frozenset[Dot]:
        """Every change that a reader of ``vector`` has, the retired ones too. `oracle` has been asked for before."""
        return dots(self.whole(project, vector))

    def whole(self, project: str, seen: Mapping[int, int]) -> dict[int, int]:
        """``seen``, and all of what the retirements in it have retired. `oracle` has been asked for before."""
        whole = dict(seen)
        before = -1
        while before != len(whole):
            before = len(whole)
            for (by, seq), incarnation, final in self._retirements.get(project, ()):
                if whole.get(by, 0) >= seq:
                    whole[incarnation] = final
        return whole

    def retired(self, project: str, whole: Mapping[int, int]) -> set[int]:
        """The incarnations that `whole` says to have ended: of these nobody has more than was retired."""
        return {
            incarnation
            for (by, seq), incarnation, _ in self._retirements.get(project, ())
            if whole.get(by, 0) >= seq
        }

    def _is_forked(self, oracle: Oracle) -> bool:
        return any((incarnation, 1) in oracle.events for incarnation in self._history.forked)

    def _note_retirements(self, project: str, dot: Dot, change: Change) -> None:
        for operation in change.operations:
            if operation.object == RETIRED_OBJECT:
                final = decode(operation.payload).value
                if isinstance(final, int):
                    self._retirements.setdefault(project, []).append((dot, int(operation.field, 16), final))

    def _event(self, project: str, change: Change) -> Event:
        before = self._seen.get((project, (change.incarnation, change.seq - 1)), {})
        claimed = self.whole(project, {**before, **dict(change.deps)})
        self._seen[project, change.dot] = claimed
        if change.author == junk.AUTHOR:
            self.junk.add((project, change.dot))
        operations = []
        for o in change.operations:
            said = decode(o.payload)
            # A removal is told by its first byte alone: any msgpack extension.
            value = REMOVED if o.payload[:1] and o.payload[0] in EXTENSIONS else said.value
            if o.field.startswith("kill/") and value is not REMOVED:
                value = value is not False  # what cannot be read kills
            operations.append(Operation(o.object, o.generation, o.field, said.author, value))
            self.payloads[project, Address(o.object, o.generation, o.field), change.dot] = o.payload
        seen = self._authored(project, change, claimed)
        return Event(change.dot, change.hlc, seen, tuple(operations))

    def _authored(self, project: str, change: Change, claimed: dict[int, int]) -> Mapping[int, int]:
        if change.idempotency is None:
            return claimed
        key = change.idempotency[0]
        if not only_parks(change):
            self.keys.setdefault((project, key), []).append(change.dot)
        authored = self._history.authored_on.get((project, key, change.incarnation))
        if authored is None or change.incarnation in self._history.forked:
            # Written by a node itself: what another change has become when its node came back, for one.
            return claimed
        seen = self.whole(project, authored)
        if claimed != {i: seq for i, seq in seen.items() if i != change.incarnation}:
            self.wrong.append(f"{change.id} says that its author had seen {claimed}; it was {seen}")
            # One lie is told once: what follows from it is judged as if it were true.
            return claimed
        return seen


def covered_by(replica: Replica) -> frozenset[Dot]:
    """Every change that a node's state says to have."""
    return dots({**replica.retired, **replica.vv})
