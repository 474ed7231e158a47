"""The parked changes of one project, as conflicts.

What such a record says depends on two objects, the parked one and the one that it is about; so records are made when
somebody asks, and kept until either is touched. A parked change that has come after all, under its own name, has
nothing to tell any more and is passed over.
"""

from __future__ import annotations

from vexil.crdt import schema
from vexil.crdt.conflicts import ConflictRecord
from vexil.crdt.parked import ParkedChange, parse_name, read_parked, returned_record
from vexil.crdt.replica import Replica

_PREFIX = f"{schema.PARKED}/"


class ParkedConflicts:
    """Follows a project's replica; the one that is passed in is always the project's."""

    __slots__ = ("_about", "_parked", "_records")

    def __init__(self) -> None:
        """Nothing is parked."""
        self._parked: dict[str, tuple[ParkedChange, ...]] = {}
        self._about: dict[str, set[str]] = {}
        self._records: dict[str, tuple[ConflictRecord, ...]] = {}

    def read(self, name: str, replica: Replica) -> None:
        """The parked object ``name`` may be another now."""
        for parked in self._parked.pop(name, ()):
            about = self._about[parked.object]
            about.discard(name)
            if not about:
                del self._about[parked.object]
        self._records.pop(name, None)
        found = read_parked(name.removeprefix(_PREFIX), replica.cells(name))
        if found:
            self._parked[name] = found
            for parked in found:
                self._about.setdefault(parked.object, set()).add(name)

    def touched(self, name: str) -> None:
        """The object ``name`` may say something else now."""
        for parked in self._about.get(name, ()):
            self._records.pop(parked, None)

    def records(self, replica: Replica) -> list[ConflictRecord]:
        """One record for each object that a parked change is about; by parked object."""
        found: list[ConflictRecord] = []
        for name in sorted(self._parked):
            if _has_come(name, replica):
                continue
            records = self._records.get(name)
            if records is None:
                records = self._records[name] = tuple(
                    returned_record(parked, replica.cells(parked.object)) for parked in self._parked[name]
                )
            found += records
        return found

    def count(self, replica: Replica) -> int:
        """How many records there are."""
        return sum(len(found) for name, found in self._parked.items() if not _has_come(name, replica))


def _has_come(name: str, replica: Replica) -> bool:
    change = parse_name(name.removeprefix(_PREFIX))
    return change is not None and replica.known(change[0]) >= change[1]
