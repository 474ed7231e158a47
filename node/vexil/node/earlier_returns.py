"""What earlier runs of a return have done: old changes that were issued again already, told by the node's own log.

A return may be cut off anywhere and begins anew. What an old change has become carries that one's idempotency key, or
one that is made of its id; the log keeps it for longer than keys are kept for retries of clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from vexil.crdt.change import Change, Dot, Undecodable, decode, render_id
from vexil.node.authoring.reissue import Address, Issued
from vexil.node.idempotency import RETURN_PREFIX
from vexil.node.project import Project
from vexil.node.seams import LogRecord

LOG_PAGE_BYTES: Final = 1 << 20
CHAIN_HEX_CHARACTERS: Final = 16
"""Of a change's chain hash in its key: two changes that were given one id are told apart."""


class Log(Protocol):
    """The node's log."""

    async def read(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """See `OwnLog.read`."""


@dataclass(slots=True)
class OwnWrites:
    """What the node has written to one project since it is back."""

    keys: dict[tuple[str, bytes], Dot] = field(default_factory=dict)
    """By idempotency key and fingerprint."""
    cells: dict[Dot, list[Address]] = field(default_factory=dict)
    """What each change has written."""
    unreadable: int = 0
    """Changes of a newer version. What such a one stands for is judged anew, and parked: its cells are others now."""

    def note(self, raw: bytes) -> None:
        """One change of it."""
        try:
            change = decode(raw)
        except Undecodable:
            self.unreadable += 1
            return
        if change.idempotency is not None:
            self.keys.setdefault(change.idempotency, change.dot)
        self.cells[change.dot] = [(o.object, o.generation, o.field) for o in change.operations]

    def became(self, project: Project, change: Change) -> Dot | None:
        """As what an earlier run has written the old ``change`` again; None if it has not."""
        for key, fingerprint in keys_of(change):
            remembered = project.idempotency.lookup(key)
            # The region's log may tell of the old change itself, which is not what has become of it.
            if (
                remembered is not None
                and remembered.fingerprint == fingerprint
                and remembered.dot != change.dot
            ):
                return remembered.dot
            dot = self.keys.get((key, fingerprint))
            if dot is not None:
                return dot
        return None

    def touched_by_others(self, issued: Issued) -> set[Address]:
        """The cells that its clients have written: a later lane of the node itself may have taken their place."""
        return {address for dot, cells in self.cells.items() if dot not in issued for address in cells}


async def own_writes(log: Log, project: str, through: Mapping[int, int]) -> OwnWrites:
    """Read the node's own changes, which are those of the incarnations in ``through``, up to there.

    Raises JournalError, StoreError.
    """
    after: dict[int, int] = {}
    found = OwnWrites()
    while any(after.get(i, 0) < seq for i, seq in through.items()):
        page = await log.read(project, after=after, through=through, limit_bytes=LOG_PAGE_BYTES)
        if not page:
            break
        for record in page:
            after[record.incarnation] = record.seq
            found.note(record.raw)
    return found


def return_key(change: Change) -> str:
    """The idempotency key that is made of an old change's id."""
    return f"{RETURN_PREFIX}{render_id(change.dot)}/{change.chain.hex()[:CHAIN_HEX_CHARACTERS]}"


def keys_of(change: Change) -> list[tuple[str, bytes]]:
    """Under which keys ``change`` is issued again: its own first, so that its client's retries find it."""
    made = (return_key(change), change.chain)
    return [made] if change.idempotency is None else [change.idempotency, made]
