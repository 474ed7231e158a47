"""The sheet: a working copy of one flag or segment, on which the operations of a change are done one after another.

A sheet is the object's fields (`vexil.crdt.schema` names them) with the values that this node shows, and on top of
them what this change has set so far. In the end the sheet is compared with the state: what differs becomes a write,
once per cell, whatever the operations in between did; so later operations see earlier ones, and the minimal change
falls out by itself. The state's cells are read only when asked for: a segment may have a million.

Existence is kept apart from the fields. A sheet is absent, or *is* the generation that the state shows, or a new one.
Every change of fields, and of kill switches, re-touches ``exists``; a delete puts a tombstone there, in every
generation that is alive here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from vexil.crdt import cell as packed_cells
from vexil.crdt.cell import live
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.generation import Cells, Existence, next_epoch, visible
from vexil.crdt.payload import TOMBSTONE, decode
from vexil.crdt.pen import NEW_GENERATION, CellWrite
from vexil.crdt.policy import MISSING, killed, lww
from vexil.crdt.schema import EXISTS, FLAG, kill_field, parse_field
from vexil.node.authoring.json_data import same

EPOCH: Final = "epoch"
"""Field of a deleted generation, opaque to readers: its epoch. The tombstone takes the place of the lane that said it,
and a re-create must be above every epoch there was, also when older generations have been collected."""

Address = tuple[Dot, str]
"""A cell of the object: generation and field."""


class Sheet:
    """One object of ``kind``: see the module. ``fields`` are read with `value`, changed with `put` and `remove`."""

    __slots__ = (
        "_base",
        "_cells",
        "_deleted",
        "_insisted",
        "_kills",
        "_set",
        "generation",
        "kind",
        "name",
        "type",
    )

    def __init__(self, kind: str, name: str, cells: Cells) -> None:
        """The object ``name`` (``flag/…`` or ``segment/…``) as ``cells`` have it."""
        self.kind = kind
        self.name = name
        self._cells = cells
        self._base: list[Existence] = visible(cells)
        self._deleted = False
        self._set: dict[str, object] = {}
        self._kills: dict[str, bool] = {}
        self._insisted: set[str] = set()
        self.generation: Dot | None = self._base[0].generation if self._base else None
        self.type = self._base[0].type if self._base else ""

    # -- existence

    @property
    def exists(self) -> bool:
        """Whether the object is there, after what this change has done so far."""
        return self.generation is not None

    @property
    def was_there(self) -> bool:
        """Whether the object is there in the state, whatever this change has done."""
        return bool(self._base)

    @property
    def is_new(self) -> bool:
        """Whether this change creates the object."""
        return self.generation == NEW_GENERATION

    def create(self, *, type_: str = "") -> None:
        """Begin a new generation, empty. The object must be absent."""
        assert not self.exists, "only an absent object is created"
        self.generation = NEW_GENERATION
        self.type = type_
        self._set = {}

    def delete(self) -> None:
        """Remove every generation that is alive here."""
        assert self.exists, "only a present object is deleted"
        self._deleted = bool(self._base)
        self.generation = None
        self._set = {}

    # -- fields

    def value(self, field: str, default: object = None) -> object:
        """The field's value; ``default`` if there is none."""
        found = self._set.get(field, self)
        if found is self:
            found = self._shown(field)
        return default if found is MISSING else found

    def has(self, field: str) -> bool:
        """Whether the field has a value."""
        return self.value(field, MISSING) is not MISSING

    def names(self, prefix: str) -> list[str]:
        """The rest of the name of every field that begins with ``prefix`` and has a value; sorted."""
        known = {*self._shown_fields(), *self._set} if self._set else self._shown_fields()
        return sorted(f.removeprefix(prefix) for f in known if f.startswith(prefix) and self.has(f))

    def names_max(self) -> int:
        """An upper bound of the number of fields, without looking at any."""
        return len(self._shown_fields()) + len(self._set)

    def put(self, field: str, value: object) -> None:
        """Set the field."""
        self._set[field] = value

    def remove(self, field: str) -> None:
        """Take the field's value away."""
        self._set[field] = MISSING

    def insist(self, field: str) -> None:
        """Write the field also if its value stays what is shown: its other live lanes have lost then."""
        self._insisted.add(field)
        self._set.setdefault(field, self._shown(field))

    def _shown_fields(self) -> Mapping[str, bytes]:
        if self.generation is None or self.is_new:
            return {}
        return self._cells.get(self.generation, {})

    def _shown(self, field: str) -> object:
        packed = self._shown_fields().get(field)
        return MISSING if packed is None else lww(live(packed)).value

    # -- kill switches

    def is_killed(self, environment: str) -> bool:
        """Whether the kill switch holds."""
        return self._kills.get(environment, self._was_killed(environment))

    def set_kill(self, environment: str, *, kill: bool) -> None:
        """Throw the switch. A kill is always written, whatever the state; clearing needs something to clear."""
        if kill or self._was_killed(environment):
            self._kills[environment] = kill
        else:
            self._kills.pop(environment, None)

    def _was_killed(self, environment: str) -> bool:
        packed = self._cells.get(NO_GENERATION, {}).get(kill_field(environment))
        return packed is not None and killed(live(packed)).value is True

    # -- what has been done

    def mark(self) -> Mark:
        """The sheet as it is now, to compare with later."""
        return Mark(self.generation, dict(self._set), dict(self._kills))

    def changed_since(self, mark: Mark) -> list[str]:
        """Fields of the present generation whose value is another one than at ``mark``; all set ones if it is new."""
        if mark.generation != self.generation:
            return sorted(self._set)
        return sorted(
            field
            for field, value in self._set.items()
            if not _equal(value, mark.fields[field] if field in mark.fields else self._shown(field))
        )

    def touched_since(self, mark: Mark) -> Iterator[Address]:
        """The cells of the state that the operations after ``mark`` would write; existence cells are left out."""
        if mark.generation not in (None, NEW_GENERATION) and mark.generation != self.generation:
            yield from self.every_cell()
            return
        if self.generation is not None and not self.is_new:
            for field in self.changed_since(mark):
                yield (self.generation, field)
        for environment, kill in self._kills.items():
            if mark.kills.get(environment) is not kill:
                yield (NO_GENERATION, kill_field(environment))

    def every_cell(self) -> Iterator[Address]:
        """Every cell of the state that belongs to a live generation or to none."""
        for generation in (NO_GENERATION, *(e.generation for e in self._base)):
            for field in self._cells.get(generation, {}):
                if field != EXISTS:
                    yield (generation, field)

    def stored_bytes(self, field: str) -> int:
        """Bytes of the payload that the state shows in ``field``, 0 if none."""
        packed = self._shown_fields().get(field)
        winner = None if packed is None else lww(live(packed)).winner
        return 0 if winner is None else len(winner.payload)

    # -- the outcome

    def writes(self) -> list[CellWrite]:
        """What differs from the state, each cell once; empty if nothing does."""
        found = [*self._deletions()] if self._deleted else []
        edits = [*self._field_writes()] if self.generation is not None else []
        kills = [
            CellWrite(self.name, NO_GENERATION, kill_field(environment), value=kill)
            for environment, kill in sorted(self._kills.items())
        ]
        if self.generation is not None and (edits or kills or self.is_new):
            found.append(CellWrite(self.name, self.generation, EXISTS, self._existence_value()))
        return [*found, *edits, *kills]

    def _deletions(self) -> Iterator[CellWrite]:
        for each in self._base:
            yield from deletion(self.name, each)

    def _existence_value(self) -> object:
        if not self.is_new:
            return existence_value(self.kind, self._base[0])
        value: dict[str, object] = {"epoch": self._next_epoch()}
        if self.kind == FLAG:
            value["type"] = self.type
        return value

    def _next_epoch(self) -> int:
        known = [0]
        for generation, fields in self._cells.items():
            if generation != NO_GENERATION:
                for lane in packed_cells.lanes(fields.get(EPOCH, packed_cells.EMPTY)):
                    value = decode(lane.payload).value
                    known.append(value if type(value) is int else 0)
        return max(next_epoch(self._cells), 1 + max(known))

    def _field_writes(self) -> Iterator[CellWrite]:
        assert self.generation is not None
        for field, value in sorted(self._set.items()):
            shown = self._shown(field)
            insisted = field in self._insisted
            if value is MISSING:
                if shown is not MISSING or insisted:
                    yield CellWrite(self.name, self.generation, field, TOMBSTONE)
            elif insisted or not _is_said(self.kind, field, value, shown):
                yield CellWrite(self.name, self.generation, field, value)


class Mark:
    """A sheet at one moment."""

    __slots__ = ("fields", "generation", "kills")

    def __init__(self, generation: Dot | None, fields: dict[str, object], kills: dict[str, bool]) -> None:
        """Made by `Sheet.mark`."""
        self.generation = generation
        self.fields = fields
        self.kills = kills


def existence_value(kind: str, shown: Existence) -> dict[str, object]:
    """The payload of ``exists`` for a re-touch: what the create said, with its HLC written out."""
    value: dict[str, object] = {"epoch": shown.epoch}
    if kind == FLAG:
        value["type"] = shown.type
    # The create itself could not know its HLC: there, it is that of the lane.
    value["created"] = shown.created or shown.winner.hlc
    return value


def touch(kind: str, name: str, each: Existence) -> CellWrite:
    """The re-touch of one generation's existence by itself: it says "this is to stay"."""
    return CellWrite(name, each.generation, EXISTS, existence_value(kind, each))


def deletion(name: str, each: Existence) -> Iterable[CellWrite]:
    """The writes that remove one generation."""
    yield CellWrite(name, each.generation, EXISTS, TOMBSTONE)
    yield CellWrite(name, each.generation, EPOCH, each.epoch)


PLAIN_DEFAULTS: Final[Mapping[str, object]] = {
    "description": "",
    "owner": "",
    "archived": False,
    "client_visible": False,
    "enabled": False,
    "default": None,
    "off_variant": None,
    "targeting": None,
    "order": [],
}
"""What a plain field that was never written is read as, by its last part."""


def _is_said(kind: str, field: str, value: object, shown: object) -> bool:
    """Whether ``value`` is what ``field`` says already, or says anyhow if nobody has written it."""
    if shown is not MISSING:
        return _equal(value, shown)
    parsed = parse_field(kind, NEW_GENERATION, field)
    return not parsed.name and _equal(value, PLAIN_DEFAULTS.get(parsed.part, MISSING))


def _equal(left: object, right: object) -> bool:
    if left is MISSING or right is MISSING:
        return left is right
    return same(left, right)
