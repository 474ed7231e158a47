"""The join of two whole states of one project: how a snapshot becomes part of a replica that goes on meanwhile.

Everything is built aside, an object at a time, and put into the live replica in one step, so nobody ever sees half of
it. The result is what applying the changes that were missing would have given. That holds only if neither state has
collected garbage that the other has not even seen: `fits`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from sys import intern
from types import TracebackType
from typing import Self

from vexil.crdt import cell as cells
from vexil.crdt.change import Dot
from vexil.crdt.name_order import sorting
from vexil.crdt.payload import is_tombstone
from vexil.crdt.replica import HASH_BITS, Replica, object_sum

Generations = dict[Dot, dict[str, bytes]]
Cells = Mapping[Dot, Mapping[str, bytes]]


class CannotMerge(ValueError):
    """The two states must not be joined."""


class BelowFloor(CannotMerge):
    """One side has collected what the other has not seen: joining could bring back what was removed."""


class ForkMet(CannotMerge):
    """The states contain two histories of one incarnation."""


def fits(live: Replica, header: bytes) -> bool:
    """Whether the state with ``header`` may be joined into ``live``, as far as a header tells. Raises ValueError.

    A header does not say which incarnations are retired; `Merge` looks again when the cells are there.
    """
    incoming = Replica()
    incoming.load_header(header)
    lower = {i: seq for i, seq in live.floor.items() if i in incoming.vv}
    return not live.vv or (live.covers(incoming.floor) and incoming.covers(lower))


def lacks(state: Replica, other: Replica) -> bool:
    """Whether ``other`` may have collected garbage of changes that ``state`` has not seen.

    What a retired incarnation wrote counts as stable, and has left the floor: it may have been collected as well.
    """
    return not (
        state.covers(other.floor) and all(state.known(i) >= final for i, final in other.retired.items())
    )


class Merge:
    """One join of ``incoming``, which nobody else changes, into ``live``; closed by its user (``with``).

    Take every object of ``incoming``, then what `again` names until that is little, then `finish`. Between two calls
    changes may be applied to ``live``. `finish` uses ``incoming`` up: its dictionaries are part of ``live`` then.
    """

    def __init__(self, live: Replica, incoming: Replica) -> None:
        """Raises BelowFloor or ForkMet if they must not be joined, TooManyCuts if ``live`` is looked at too much."""
        self._live = live
        self._incoming = incoming
        self._from_nothing = not live.vv
        self._joined: dict[str, Generations] = {}
        self._sums: dict[str, int] = {}
        self._left = set(incoming.objects)
        self._refuse()
        self._cut = live.cut()

    def names(self) -> Generator[None, None, list[str]]:
        """The objects of either side, ascending, in steps as of `name_order.sorting`.

        Those of ``incoming`` have to be taken. What ``live`` gets from now on is told by `again`.
        """
        return sorting(self._live.objects | self._incoming.objects)

    def again(self) -> list[str]:
        """The objects that have been touched in ``live`` since the last call, and have to be taken (again)."""
        touched = self._cut.changed
        self._cut.close()
        self._cut = self._live.cut()
        return sorted(touched)

    def take(self, name: str) -> None:
        """Join one object as it is now: one look at each of its cells, hashes only where the sides differ."""
        mine = self._live.cells(name)
        theirs = self._incoming.objects.get(name, {})
        joined = self._join(mine, theirs)
        self._left.discard(name)
        self._joined.pop(name, None)
        self._sums.pop(name, None)
        if joined is not None:
            self._joined[name] = joined
        # The root hash follows from the side that needs less hashing: what is new to nobody is not summed.
        present = mine if joined is None else joined
        if self._from_nothing:
            if joined is None or any(
                f is not theirs.get(g) and f != theirs.get(g) for g, f in joined.items()
            ):
                self._sums[name] = object_sum(name, present) - object_sum(name, theirs)
        elif joined is not None:
            self._sums[name] = object_sum(name, joined) - object_sum(name, mine)

    def finish(self) -> set[str]:
        """Put the join into ``live``, in one step, and close. Returns the objects whose cells are others now.

        What has not been taken (again) is taken first: with nothing applied in between, that is what it costs.
        Raises ForkMet or BelowFloor if it cannot be, by now; ``live`` is as it was then.
        """
        for name in {*self.again(), *self._left}:
            self.take(name)
        self._refuse()
        root = self._root()
        self.close()
        self._live.adopt(self._incoming, objects=self._joined, root=root)
        return set(self._joined)

    def joined(self, name: str) -> Generations:
        """The object's cells as the join has them, once it has been taken. Do not change them."""
        return self._joined.get(name) or self._live.objects.get(name, {})

    def outcome(self) -> Replica:
        """What ``live`` becomes if `finish` comes next, without its cells: for a store that has to know first.

        Everything that `again` names has been taken. Raises ForkMet or BelowFloor.
        """
        self._refuse()
        outcome = Replica()
        outcome.load_header(self._live.header())
        outcome.retired = dict(self._live.retired)
        outcome.adopt(self._incoming, objects={}, root=self._root())
        return outcome

    def _root(self) -> int:
        base = self._incoming.root if self._from_nothing else self._live.root
        return (base + sum(self._sums.values())) & ((1 << HASH_BITS) - 1)

    def close(self) -> None:
        """Forget the join; nothing has happened. Closing twice is nothing."""
        self._cut.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refuse(self) -> None:
        live, incoming = self._live, self._incoming
        if not incoming.covers(incoming.floor):
            raise CannotMerge("its garbage floor is above its vector")
        for here, there in ((live, incoming), (incoming, live)):
            for incarnation, final in here.retired.items():
                if there.vv.get(incarnation, 0) > final or there.retired.get(incarnation, final) != final:
                    raise ForkMet(f"{incarnation:016x} has a life after its end at {final}")
        for incarnation, seq in incoming.vv.items():
            if live.vv.get(incarnation) == seq and live.head(incarnation) != incoming.head(incarnation):
                raise ForkMet(f"two histories of {incarnation:016x} at {seq}")
        if live.vv and (lacks(live, incoming) or lacks(incoming, live)):
            raise BelowFloor("one state has collected garbage that the other has not seen")

    def _join(self, mine: Cells, theirs: Generations) -> Generations | None:
        """``mine`` with all of ``theirs``, sharing what is equal; None if that is ``mine``.

        A generation that only they have is theirs as it is: nobody changes it before `finish`, and from then on it is
        ours.
        """
        joined: Generations = {}
        for generation, fields in theirs.items():
            present = mine.get(generation)
            if present is None:
                joined[generation] = fields
                continue
            if present == fields:
                continue
            differing = {}
            for field, packed in fields.items():
                old = present.get(field)
                if old != packed:
                    new = packed if old is None else self._join_cells(old, packed)
                    if new != old:
                        differing[intern(field)] = new
            if differing:
                joined[generation] = {**present, **differing}
        if not joined:
            return None
        return {g: joined[g] if g in joined else dict(mine[g]) for g in {**mine, **joined}}

    def _join_cells(self, mine: bytes, theirs: bytes) -> bytes:
        flat = cells.unpacked(cells.join(mine, theirs))
        removed = cells.tombstones_beside(flat, 0)
        if removed and cells.has_value(cells.pack(flat)):
            for dot in removed:
                _replace_collected(flat, dot, self._live, mine)
                _replace_collected(flat, dot, self._incoming, theirs)
        return cells.pack(flat)


def _replace_collected(flat: cells.Flat, dot: Dot, replica: Replica, packed: bytes) -> None:
    """A tombstone that is not in the one side's cell any more, below its floor, was garbage there.

    So whatever that side has in the cell now was written by authors who had seen the removal: it is replaced, and is
    no conflict with them. Only a tombstone beside a value is judged so: the root hash does not know the difference.
    """
    incarnation, seq = dot
    if replica.floor.get(incarnation, 0) < seq and replica.retired.get(incarnation, 0) < seq:
        return
    if any(
        e.incarnation == incarnation and max(e.lane_seq, e.seen_seq) >= seq for e in cells.entries(packed)
    ):
        return
    later = [lane for lane in cells.live(packed) if not is_tombstone(lane.payload)]
    if later:
        cells.replace(flat, dot, by=max((lane.incarnation, lane.seq) for lane in later))
