"""Reading the cells of one object, and remembering what a person should hear about them.

A reader belongs to one reading of one generation. Almost every cell has one live lane, so that case is the fast path;
the read policies proper decide all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from vexil.crdt.cell import live
from vexil.crdt.change import Dot
from vexil.crdt.conflicts import INVALID_VALUE, ConflictRecord, defect, race
from vexil.crdt.generation import Existence, Fields
from vexil.crdt.payload import decode, is_tombstone
from vexil.crdt.policy import MISSING, Outcome, Policy, killed, lww, needs_review, present
from vexil.crdt.schema import EXISTS, kill_field

_ELEMENT: Final = Policy.ELEMENT
_CONTAINERS: Final = (dict, list)
_REMEMBERED_BYTES_MAX: Final = 64
_REMEMBERED_PAYLOADS_MAX: Final = 8192


def _said(payload: bytes) -> object:
    return MISSING if is_tombstone(payload) else decode(payload).value


# Small payloads (a switch, a variant's name) are the same in most flags: decoding one is a third of reading a cell, and
# equal values become one object in memory.
_said_small: Final = lru_cache(maxsize=_REMEMBERED_PAYLOADS_MAX)(_said)


class CellReader:
    """Values of one generation's cells; ``races`` and ``defects`` grow as it reads."""

    __slots__ = ("defects", "fields", "generation", "name", "races", "size_bytes")

    def __init__(self, name: str, generation: Dot, fields: Fields) -> None:
        """A reader of ``fields``, the cells of ``generation`` of the object ``name``."""
        self.name = name
        self.generation = generation
        self.fields = fields
        self.races: list[ConflictRecord] = []
        self.defects: list[ConflictRecord] = []
        self.size_bytes = 0
        """Field names and payloads of the values that were shown so far."""

    def value(self, field: str, packed: bytes, policy: Policy, environment: str | None = None) -> object:
        """The value of an LWW field, map entry or element: MISSING if there is none, UNREADABLE if junk."""
        lanes = live(packed)
        if len(lanes) == 1:
            payload = lanes[0].payload
            small = len(payload) <= _REMEMBERED_BYTES_MAX
            value = _said_small(payload) if small else _said(payload)
            if value is MISSING:
                return MISSING
            self.size_bytes += len(field) + len(payload)
            if policy is _ELEMENT:
                return True
            # A container is decoded anew: two flags must not share what somebody might change.
            return decode(payload).value if small and isinstance(value, _CONTAINERS) else value
        outcome = present(lanes) if policy is Policy.ELEMENT else lww(lanes)
        if outcome.siblings:
            self.race_of(field, policy, outcome, environment)
        if outcome.winner is not None:
            self.size_bytes += len(field) + len(outcome.winner.payload)
        return outcome.value

    def killed(self, field: str, packed: bytes, environment: str) -> bool:
        """Whether a kill cell holds."""
        lanes = live(packed)
        outcome = killed(lanes)
        if outcome.siblings:
            self.race_of(field, Policy.OFF_WINS, outcome, environment)
        if not all(
            is_tombstone(lane.payload) or isinstance(decode(lane.payload).value, bool) for lane in lanes
        ):
            # Junk kills: it may be a kill that a newer version says more about.
            self.defect(INVALID_VALUE, field, environment)
        return outcome.value is True

    def killed_in(self, environments: Sequence[str]) -> frozenset[str]:
        """The environments, of those asked for, whose kill cell among these fields holds."""
        found = set()
        for environment in environments:
            field = kill_field(environment)
            packed = self.fields.get(field)
            if packed is not None and self.killed(field, packed, environment):
                found.add(environment)
        return frozenset(found)

    def race_of(self, field: str, policy: Policy, outcome: Outcome, environment: str | None = None) -> None:
        """Record that ``field`` is contested."""
        self.races.append(
            race(self.name, self.generation, field, policy=policy, outcome=outcome, environment=environment)
        )

    def defect(self, kind: str, field: str, environment: str | None = None) -> None:
        """Record that the value of ``field`` was replaced by a safe one."""
        packed = self.fields.get(field)
        lanes = [] if packed is None else live(packed)
        self.defects.append(
            defect(kind, self.name, self.generation, field, lanes=lanes, environment=environment)
        )


def read_existence(reader: CellReader, existence: Existence) -> bool:
    """Record what the shown existence cell has lost; returns whether the object needs review."""
    if len(existence.lanes) < 2:
        return False
    outcome = lww(existence.lanes)
    if outcome.siblings:
        reader.race_of(EXISTS, Policy.GENERATION, outcome)
    return needs_review(existence.lanes)
