"""Authors that write to replicas of their own and hear each other when a test says so; and cells made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vexil.crdt import cell, schema
from vexil.crdt.change import NO_GENERATION, Change, Dot
from vexil.crdt.frontier import Verdict
from vexil.crdt.materialise import FlagState, SegmentState, next_epoch, read_flag, read_segment
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica

ENVIRONMENTS = ("dev", "prod")


class Author:
    """One node with one person at it. ``now`` is the author's clock: each write is one later."""

    def __init__(self, incarnation: int, *, now: int = 1) -> None:
        self.incarnation = incarnation
        self.now = now << 16
        self.replica = Replica()
        self.log: list[Change] = []

    def write(self, name: str, generation: Dot, values: Mapping[str, object]) -> Change:
        """One change with a cell per field."""
        self.now += 1
        writes = [CellWrite(name, generation, field, value) for field, value in values.items()]
        change = Pen(self.replica, self.incarnation).write(
            writes, hlc=self.now, author=f"author-{self.incarnation}"
        )
        self._apply(change)
        return change

    def hear(self, other: Author) -> None:
        """Take over what ``other`` has, in its order."""
        for change in other.log:
            if self.replica.verdict(change) is Verdict.NEXT:
                self._apply(change)

    def _apply(self, change: Change) -> None:
        self.replica.apply(change)
        self.log.append(change)

    def create(self, key: str = "f", *, kind: str = "boolean", **values: object) -> Dot:
        """A flag with variants on and off; ``values`` by field, with `__` for `/`."""
        name = schema.flag_object(key)
        written: dict[str, object] = {
            schema.EXISTS: {
                "epoch": next_epoch(self.replica.cells(name)),
                "created": self.now + 1,
                "type": kind,
            }
        }
        if kind == "boolean":
            written |= {"variant/on": True, "variant/off": False}
        written |= {field.replace("__", "/"): value for field, value in values.items()}
        return self.write(name, NEW_GENERATION, written).dot

    def edit(self, key: str, generation: Dot, values: Mapping[str, object]) -> Change:
        """An edit as every edit is: it touches the existence cell too."""
        name = schema.flag_object(key)
        alive = cell.live(self.replica.cell(name, generation, schema.EXISTS))
        touch = {"epoch": 1, "created": alive[0].hlc, "type": "boolean"} if alive else {}
        state = read_flag(key, self.replica.cells(name), ENVIRONMENTS)
        if state is not None:
            touch["epoch"] = state.epoch
        return self.write(name, generation, {schema.EXISTS: touch, **values})

    def delete(self, key: str = "f") -> Change:
        """Remove the shown generation."""
        state = self.flag(key)
        assert state is not None
        return self.write(schema.flag_object(key), state.generation, {schema.EXISTS: TOMBSTONE})

    def kill(self, key: str, environment: str, *, killed: bool) -> Change:
        """Throw the kill switch, or take it back."""
        return self.write(schema.flag_object(key), NO_GENERATION, {schema.kill_field(environment): killed})

    def flag(self, key: str = "f", environments: Sequence[str] = ENVIRONMENTS) -> FlagState | None:
        """The flag as this author's node reads it."""
        return read_flag(key, self.replica.cells(schema.flag_object(key)), environments)

    def shown(self, key: str = "f") -> FlagState:
        """The flag, which is there."""
        state = self.flag(key)
        assert state is not None
        return state

    def segment(self, key: str = "s") -> SegmentState:
        """The segment, which is there."""
        state = read_segment(key, self.replica.cells(schema.segment_object(key)))
        assert state is not None
        return state


def meet(*authors: Author) -> None:
    """Everybody hears everybody."""
    for _ in authors:
        for author in authors:
            for other in authors:
                author.hear(other)


def packed(*lanes: tuple[int, int, bytes]) -> bytes:
    """A cell with the live lanes ``(incarnation, hlc, payload)``, whatever the payloads are."""
    made = cell.EMPTY
    for incarnation, hlc, payload in lanes:
        made = cell.write(made, dot=(incarnation, 1), hlc=hlc, payload=payload, replaced=())
    return made
