"""How a change is written: an author's cells become one change on top of a replica's present state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from vexil.crdt import cell as cells
from vexil.crdt import change as changes
from vexil.crdt import payload as payloads
from vexil.crdt.change import Change, Dot, Operation
from vexil.crdt.replica import Replica

NEW_GENERATION: Final = (-1, -1)
"""As the generation of a `CellWrite`: the dot of the change that will carry it."""
BEFORE_BYTES_MAX = 1024
"""Of what a change says was there before it; beyond it values are left out."""
_pack = msgpack.Packer(autoreset=True).pack


@dataclass(frozen=True, slots=True)
class CellWrite:
    """What an author wants to be in one cell: JSON data or `payload.TOMBSTONE`."""

    object: str
    generation: Dot
    field: str
    value: Any


class Pen:
    """One incarnation's hand on one replica: it hands out its dots and links its chain.

    Changes may be written ahead of being applied (a batch that is journalled together), as long as no two of them
    touch one object; all of them are then based on the state that the replica has now.
    """

    __slots__ = ("_chain", "_deps", "_replica", "_seq", "incarnation")

    def __init__(self, replica: Replica, incarnation: int) -> None:
        """The pen of ``incarnation``, at the replica's newest change of it."""
        self.incarnation = incarnation
        self._replica = replica
        self.rewind()

    def rewind(self) -> None:
        """Forget what was written ahead: none of it has become durable."""
        self._seq = self._replica.vv.get(self.incarnation, 0)
        self._chain = self._replica.head(self.incarnation)
        self._deps = dict(self._replica.deps_of(self.incarnation))

    @property
    def next_dot(self) -> Dot:
        """The dot that the next change will have."""
        return (self.incarnation, self._seq + 1)

    def write(
        self,
        writes: Sequence[CellWrite],
        *,
        hlc: int,
        author: str,
        message: str = "",
        idempotency: tuple[str, bytes] | None = None,
        before: Callable[[CellWrite], object] | None = None,
    ) -> Change:
        """The change that puts ``writes`` on top of the replica's present state; at most one write per cell.

        It replaces every lane that is live now, its deps are the replica's vector. Nothing is applied. ``before``
        says what the node shows in a cell. Raises ValueError or TypeError on a value that is not JSON data.
        """
        dot = self.next_dot
        replica = self._replica
        operations = []
        touched = set()
        for w in writes:
            generation = dot if w.generation == NEW_GENERATION else w.generation
            address = (w.object, generation, w.field)
            assert address not in touched, f"two writes of one cell: {address}"
            touched.add(address)
            # The own lane needs no `seen`: the higher seq replaces it.
            seen = cells.live_dots(replica.cell(w.object, generation, w.field), without=dot[0])
            operations.append(
                Operation(w.object, generation, w.field, payloads.encode(author, w.value), seen)
            )
        deps = {i: seq for i, seq in replica.vv.items() if i != dot[0] and seq > self._deps.get(i, 0)}
        change = changes.encode(
            dot=dot,
            hlc=hlc,
            deps=deps,
            previous=self._chain,
            author=author,
            message=message,
            idempotency=idempotency,
            operations=operations,
            before=() if before is None else _bounded([before(w) for w in writes]),
        )
        self._seq += 1
        self._chain = change.chain
        self._deps.update(deps)
        return change


def _bounded(values: list[object]) -> list[object]:
    """``values`` with those left out (None) that would take them together over `BEFORE_BYTES_MAX`."""
    left = BEFORE_BYTES_MAX
    kept: list[object] = []
    for value in values:
        size = len(_pack(value)) if value is not None else 0
        kept.append(value if size <= left else None)
        left -= size if size <= left else 0
    return kept
