"""The workspace of one change: the sheets it works on, what it has looked at, and the change that comes out.

Operations find other flags here too (prerequisites, who depends on whom), so that an operation sees what an earlier one
of the same change has done, and everything that a decision leaned on is remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from zlib import crc32

import msgpack

from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.crdt.schema import FLAG, PREREQUISITE, flag_object, segment_object
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.limits import CHANGE_BYTES_MAX, CHANGE_CELLS_MAX, FLAGS_MAX, refuse_over
from vexil.node.authoring.sheet import Sheet
from vexil.node.authoring.view import View

_PREREQUISITE_PREFIX = f"{PREREQUISITE}/"
PLACE = "place"
"""``place/<number>`` is among what was read by a change that creates a flag. No object has such a name."""
WRITE_OVERHEAD_BYTES = 128
"""What a write takes beside its names and value: generation, author, the dots it replaces; generously."""


class Workspace:
    """One change in the making, on top of ``view``."""

    __slots__ = ("_flags_max", "_flags_more", "_read", "_seed", "_sheets", "view")

    def __init__(
        self,
        view: View,
        *,
        flags_more: int = 0,
        flags_max: int = FLAGS_MAX,
        seed: str = "",
    ) -> None:
        """A change on top of ``view``.

        ``flags_more`` is by how many flags other workspaces that go into the same change add to the state; they are
        all made with the same ``seed``, which tells the change from others.
        """
        self._flags_more = flags_more
        self._seed = seed
        self._flags_max = flags_max
        self.view = view
        self._sheets: dict[str, Sheet] = {}
        self._read: set[str] = set()

    def flag(self, key: str) -> Sheet:
        """The sheet of a flag, which may be absent."""
        return self.sheet(FLAG, flag_object(key))

    def segment(self, key: str) -> Sheet:
        """The sheet of a segment, which may be absent."""
        return self.sheet("segment", segment_object(key))

    def sheet(self, kind: str, name: str) -> Sheet:
        """The sheet of the object ``name``; the same one every time."""
        found = self._sheets.get(name)
        if found is None:
            found = self._sheets[name] = Sheet(kind, name, self.view.replica.cells(name))
            self._read.add(name)
        return found

    def take_place(self, key: str) -> None:
        """Raise LimitExceeded if one flag more is too many, with what this change has created and deleted so far.

        Others may be decided against the same state. Each flag takes one of the places that are left, and the place is
        among what was read: so changes that take the same one are decided one behind the other, and together they
        never create more flags than there are places.
        """
        more = self._flags_more + 1
        for sheet in self._sheets.values():
            if sheet.kind == FLAG:
                more += sheet.exists - sheet.was_there
        there = len(self.view.flag_keys())
        refuse_over("flags", there + more, self._flags_max, unit="flags")
        if more > 0:
            # From a place that others hardly begin at, one behind the other: no two flags of a change share one.
            self._seed = self._seed or key
            place = (crc32(self._seed.encode()) + more) % (self._flags_max - there)
            self._read.add(f"{PLACE}/{place}")

    def prerequisites(self, key: str) -> Mapping[str, object]:
        """Flag to variant, of a flag that may be absent."""
        sheet = self.flag(key)
        return {flag: sheet.value(_PREREQUISITE_PREFIX + flag) for flag in sheet.names(_PREREQUISITE_PREFIX)}

    def dependents(self, key: str, variant: str | None = None) -> Iterator[str]:
        """Keys of the flags that have the flag ``key`` as a prerequisite: ``variant`` of it, or any if that is None."""
        field = _PREREQUISITE_PREFIX + key
        candidates = set(self.view.requirers(key))
        for name, sheet in self._sheets.items():
            if sheet.kind == FLAG and sheet.exists and sheet.has(field):
                candidates.add(name.removeprefix(f"{FLAG}/"))
        for other in sorted(candidates):
            sheet = self.flag(other)
            if other != key and sheet.has(field) and variant in (None, sheet.value(field)):
                yield other

    def writes(self) -> list[CellWrite]:
        """What the change would write as it stands."""
        return [write for name in sorted(self._sheets) for write in self._sheets[name].writes()]

    def intent(self) -> Intent:
        """The outcome. Raises LimitExceeded if it is too much for one change."""
        writes = self.writes()
        refuse_too_much(writes)
        created = frozenset(name for name, sheet in self._sheets.items() if sheet.is_new)
        return Intent(writes, reads=frozenset(self._read), created=created)


def refuse_too_much(writes: list[CellWrite]) -> None:
    """Raise LimitExceeded if ``writes`` do not fit in one change."""
    refuse_over("change_cells", len(writes), CHANGE_CELLS_MAX, unit="cells in one change")
    refuse_over("change_bytes", sum(map(write_bytes, writes)), CHANGE_BYTES_MAX, unit="bytes in one change")


def write_bytes(write: CellWrite) -> int:
    """About how many bytes the write takes in a change; never too few."""
    value = 0 if write.value is TOMBSTONE else len(msgpack.packb(write.value))
    return WRITE_OVERHEAD_BYTES + len(write.object.encode()) + len(write.field.encode()) + value
